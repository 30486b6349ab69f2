package extauthz

import (
	"context"
	"fmt"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// codec is grpc-go's protobuf codec, except for checks: it passes on their bytes, and
// sends answers that are bytes already. This is fast, and it is safe: we answer a check
// that can't be read with a denial, where grpc-go would return an error that Envoy's
// failure_mode_allow turns into an allow.
type codec struct{ encoding.CodecV2 }

// Unmarshal reads a message. It copies a check once: everything that is read from it
// points into that copy, because grpc-go reuses its own buffers.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if c, ok := v.(*check); ok {
		c.bytes = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// Marshal writes a message.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if c, ok := v.(*check); ok {
		c.buffers[0] = mem.SliceBuffer(c.response)
		return c.buffers[:], nil
	}
	return c.CodecV2.Marshal(v)
}

// check holds one check, from its bytes to those of its answer, in one allocation. It
// is not reused: a policy, a log or a cache may still refer to parts of it.
type check struct {
	bytes    []byte        // of the CheckRequest
	response []byte        // the bytes of the CheckResponse
	buffers  [1]mem.Buffer // response, as grpc-go takes it

	message Message
	headers [24]tenants.Header // room for the message's
	state   checkState
}

// ServerOptions returns the options that a gRPC server needs for Register.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})}
}

// ServiceName is the name of the gRPC service, for checks and for health checks.
const ServiceName = "envoy.service.auth.v3.Authorization"

// serviceDesc is the generated description with a handler for our codec.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: ServiceName,
	HandlerType: authv3.Authorization_ServiceDesc.HandlerType,
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata:    authv3.Authorization_ServiceDesc.Metadata,
}

func handleCheck(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	if compressed(ctx) {
		return nil, status.Error(codes.Unimplemented, "messages are not taken compressed")
	}
	c := &check{}
	if err := decode(c); err != nil { // of the transport: too large
		return nil, err
	}
	server := srv.(*Server)
	if intercept != nil {
		return server.checkIntercepted(ctx, c, intercept)
	}
	server.respond(ctx, c)
	return c, nil
}

// compressed reports whether the messages of a call are compressed. Envoy never does
// that. A library that we use for other purposes registers gzip with grpc-go, so that
// without this check grpc-go would inflate a message before any bound of ours holds.
func compressed(ctx context.Context) bool {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	return ok && stream.RecvCompress() != "" && stream.RecvCompress() != encoding.Identity
}

// checkIntercepted answers a check through interceptors, which know only the generated
// types.
func (s *Server) checkIntercepted(ctx context.Context, c *check, intercept grpc.UnaryServerInterceptor) (any, error) {
	request, unreadable := decodeCheck(c.bytes)
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: authv3.Authorization_Check_FullMethodName}
	return intercept(ctx, request, info, func(ctx context.Context, request any) (any, error) {
		if unreadable != nil {
			s.respond(ctx, c)
			return decodeAnswer(c.response), nil
		}
		return s.Check(ctx, request.(*authv3.CheckRequest))
	})
}

// decodeCheck returns an empty check with an error.
func decodeCheck(b []byte) (check *authv3.CheckRequest, err error) {
	defer func() {
		if r := recover(); r != nil {
			check, err = new(authv3.CheckRequest), fmt.Errorf("panic: %v", r)
		}
	}()
	check = new(authv3.CheckRequest)
	if err := proto.Unmarshal(b, check); err != nil {
		return new(authv3.CheckRequest), err
	}
	return check, nil
}

// decodeAnswer returns a denial if the bytes can't be read: Envoy takes an empty
// response for an allow.
func decodeAnswer(b []byte) *authv3.CheckResponse {
	response := new(authv3.CheckResponse)
	if err := proto.Unmarshal(b, response); err != nil {
		return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.Internal)}}
	}
	return response
}
