package jwtverify_test

import (
	"cmp"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ussoio/ussoauthz/internal/testkit/grpctest"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// pipelineReasons holds the vectors that a stage before or after the verification
// decides.
var pipelineReasons = map[string]string{
	"roles one text":    "token_invalid", // no header could hold the role
	"scopes with a tab": "token_invalid", // nor the scope
	"a surrogate pair":  "token_invalid", // nor the subject
	"a leading space":   "allowed",       // Bearer may be followed by two
}

// Every vector again, as Envoy sends it: over gRPC, to the whole pipeline. No answer is a
// gRPC error, only tokens that are ok are allowed, and the body of a denial depends on its
// reason alone.
func TestVectorsAreAnswered(t *testing.T) {
	f := newForge(t)
	engine, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	routes, problems := tenants.NewRoutes([]tenants.Route{{Match: "/"}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	server := extauthz.NewServer(extauthz.ServerConfig{})
	over := grpc.NewServer(append(extauthz.ServerOptions(), grpc.MaxRecvMsgSize(16<<20))...)
	server.Register(over)
	client := authv3.NewAuthorizationClient(grpctest.Serve(t, over))
	bodies := map[string]string{}
	checked, vectors := 0, loadVectors(t)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			keys, err := v.keys(t, f)
			if err != nil {
				return // no configuration with it is accepted
			}
			verifier, err := jwtverify.New(v.config(keys))
			if err != nil {
				return
			}
			tenant := &tenants.Tenant{ID: "acme", Verifier: verifier, Keys: keys, Token: tenants.DefaultConfig().Header, Routes: routes}
			authorizer, err := extauthz.NewAuthorizer(extauthz.Config{Tenants: tenants.NewSingle(tenant), Policy: engine})
			if err != nil {
				t.Fatal(err)
			}
			server.Use(authorizer)
			response, err := client.Check(t.Context(), bearing(v.token(t, f)))
			if err != nil {
				t.Fatalf("a gRPC error: %v", err)
			}
			checked++
			want := map[string]string{"ok": "allowed", "ErrExpired": "token_expired", "ErrKeysUnavailable": "keys_unavailable"}[v.Expect]
			want = cmp.Or(pipelineReasons[v.Name], want, "token_invalid")
			status := codes.Unauthenticated
			if code, other := map[string]codes.Code{"allowed": codes.OK, "keys_unavailable": codes.Unavailable}[want]; other {
				status = code
			}
			reason := response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
			if reason != want || codes.Code(response.GetStatus().GetCode()) != status || (response.GetOkResponse() != nil) != (want == "allowed") {
				t.Fatalf("%s, %v, want %s", reason, response.GetStatus(), want)
			}
			body := response.GetDeniedResponse().GetBody()
			if before, seen := bodies[reason]; seen && before != body {
				t.Errorf("the client learns more: %s, and else %s", body, before)
			}
			bodies[reason] = body
		})
	}
	if checked < 600 {
		t.Errorf("only %d vectors were checked", checked)
	}
	for name := range pipelineReasons {
		if !slices.ContainsFunc(vectors, func(v vector) bool { return v.Name == name }) {
			t.Errorf("there is no vector %q", name)
		}
	}
}

// bearing is a check of a request that bears a token. Envoy hands bytes that are
// no text on like this.
func bearing(token string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "acme.example", Path: "/",
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + token)}}},
		},
	}}}
}
