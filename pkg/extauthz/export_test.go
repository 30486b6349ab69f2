package extauthz

import (
	"context"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// SplitPath is splitPath, for its fuzz test.
var SplitPath = splitPath

// CheckBytes takes the bytes of a check through the codec and the server, as
// grpc-go does, without a connection.
func CheckBytes(s *Server, b []byte) *authv3.CheckResponse {
	var m checkMessage
	if err := (codec{encoding.GetCodecV2("proto")}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &m); err != nil {
		panic(err)
	}
	return s.respond(context.Background(), &m.check, m.unreadable)
}
