package extauthz

import (
	"context"
	"errors"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
)

var errNotLoaded = errors.New("no configuration is loaded")

// checkMessage is a CheckRequest together with what went wrong reading it.
type checkMessage struct {
	check      authv3.CheckRequest
	unreadable error
}

// codec is grpc-go's protobuf codec, but for checks: bytes that are no
// CheckRequest are answered by us, where grpc-go would answer with an error
// that Envoy's failure_mode_allow opens.
type codec struct{ encoding.CodecV2 }

// Unmarshal reads a message.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*checkMessage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	m.unreadable = proto.Unmarshal(buffer.ReadOnlyData(), &m.check)
	return nil
}

// ServerOptions returns the options that a gRPC server needs for Register.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})}
}

// ServiceName is the gRPC service that Envoy asks, and asks the health of.
const ServiceName = "envoy.service.auth.v3.Authorization"

// serviceDesc is the generated description with a handler that reads through
// our codec.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: ServiceName,
	HandlerType: authv3.Authorization_ServiceDesc.HandlerType,
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    authv3.Authorization_ServiceDesc.Metadata,
}

func handleCheck(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var m checkMessage
	if err := decode(&m); err != nil { // of the transport: compressed, too large
		return nil, err
	}
	server := srv.(*Server)
	if intercept == nil {
		return server.respond(ctx, &m.check, m.unreadable), nil
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: authv3.Authorization_Check_FullMethodName}
	return intercept(ctx, &m.check, info, func(ctx context.Context, check any) (any, error) {
		return server.respond(ctx, check.(*authv3.CheckRequest), m.unreadable), nil
	})
}
