package service_test

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

func asked(host, path, token string) *authv3.AttributeContext_HttpRequest {
	return &authv3.AttributeContext_HttpRequest{Method: "GET", Host: host, Path: path, Headers: map[string]string{"authorization": "Bearer " + token}}
}

// sendCheck returns the reason of an answer.
func sendCheck(conn *grpc.ClientConn, request *authv3.AttributeContext_HttpRequest) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: request},
	}})
	return response.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), err
}
