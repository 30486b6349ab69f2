package extauthz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/ussoio/ussoauthz/internal/testkit/grpctest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// yes allows whatever reaches the policy: what is refused is refused before.
const yes = `decision := true`

func TestRequestLineBounds(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, own(t, yes))
	for _, tt := range []struct {
		name, method, target string
		want                 answers.Reason
	}{
		{"the longest method", strings.Repeat("M", extauthz.MaxMethod), "/me", answers.Allowed},
		{"a longer one", strings.Repeat("M", extauthz.MaxMethod+1), "/me", answers.InvalidRequest},
		{"lower case", "get", "/me", answers.InvalidRequest},
		{"no token", "GE T", "/me", answers.InvalidRequest},
		{"no method", "", "/me", answers.InvalidRequest},
		{"CONNECT", "CONNECT", "/me", answers.InvalidRequest},
		{"a method that begins so", "CONNECTED", "/me", answers.Allowed},
		{"OPTIONS of everything", "OPTIONS", "*", answers.InvalidRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := a.Authorize(t.Context(), w.ask(tt.method, tt.target, "alice")); got.Reason != tt.want || got.Allowed != (tt.want == answers.Allowed) {
				t.Errorf("got %s: %v; want %s", got.Reason, got.Err, tt.want)
			}
		})
	}
}

func TestHeaderCountBound(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, own(t, yes))
	m := w.ask("GET", "/me", "")
	for i := range extauthz.MaxHeaders {
		m.Headers = append(m.Headers, tenants.Header{Name: fmt.Sprintf("x-%d", i), Value: "1"})
	}
	if got := a.Authorize(t.Context(), m); !got.Allowed {
		t.Errorf("%d headers: %s: %v", len(m.Headers), got.Reason, got.Err)
	}
	m.Headers = append(m.Headers, tenants.Header{Name: "x-more", Value: "1"})
	if got := a.Authorize(t.Context(), m); got.Reason != answers.InvalidRequest || !errors.Is(got.Err, extauthz.ErrManyHeaders) {
		t.Errorf("%d headers: %s: %v", len(m.Headers), got.Reason, got.Err)
	}
}

func TestEscapedLetters(t *testing.T) {
	for path, want := range map[string]string{
		"/%4a%4B%4f%5A": "JKOZ", "/%7a%7E": "z~", "/%30%39": "09", "/%C3%A9": "é", "/%c3%a9": "é", "/%e2%82%AC": "€",
	} {
		if got, err := extauthz.SplitPath(path); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
	}
}

// revocations answers for the subjects of the tests, and must never be asked
// about nobody.
type revocations struct{ t *testing.T }

var errUnknown = errors.New("the list was not read")

func (r revocations) Revoked(tenant string, id *jwtverify.Identity) (bool, error) {
	if id == nil || tenant != "acme" {
		r.t.Errorf("asked about %v of tenant %q", id, tenant)
		return false, nil
	}
	switch id.Subject {
	case "user:bob":
		return true, nil
	case "user:root":
		return false, errUnknown
	}
	return false, nil
}

func (r revocations) Why(string, *jwtverify.Identity) string { return "entry 7" }

// silent can't say which entry it was.
type silent struct{ extauthz.Revocations }

func TestRevocations(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, target, token string
		list                extauthz.Revocations
		want                answers.Reason
		steps               string
		revocation, advice  string
	}{
		{"nobody", "/", "", revocations{t}, answers.Allowed, "request tenant credential route policy", "", ""},
		{"not revoked", "/me", "alice", revocations{t}, answers.Allowed, "request tenant credential token verification revocation identity route policy", "no entry is for this token", ""},
		{"revoked", "/me", "bob", revocations{t}, answers.TokenRevoked, "request tenant credential token verification !revocation", "the token was revoked: entry 7", "the token was revoked: entry 7: remove it to take that back, or let the client ask for a new token"},
		{"revoked, on a public route", "/", "bob", revocations{t}, answers.TokenRevoked, "request tenant credential token verification !revocation", "the token was revoked: entry 7", "the token was revoked: entry 7: remove it"},
		{"revoked, by a list that can't say more", "/me", "bob", silent{revocations{t}}, answers.TokenRevoked, "request tenant credential token verification !revocation", "the token was revoked", "the token was revoked: remove it to take that back"},
		{"unknown", "/me", "admin", revocations{t}, answers.KeysUnavailable, "request tenant credential token verification !revocation", "the list was not read", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := w.authorizer(t, policy.Config{}, func(c *extauthz.Config) { c.Revocations = tt.list })
			got := a.Authorize(t.Context(), w.ask("GET", tt.target, tt.token))
			if got.Reason != tt.want || got.Allowed != (tt.want == answers.Allowed) {
				t.Fatalf("got %s: %v; want %s", got.Reason, got.Err, tt.want)
			}
			x := a.Explain(t.Context(), w.ask("GET", tt.target, tt.token))
			if x.Answer.Reason != tt.want || stepNames(x) != tt.steps || !strings.HasPrefix(x.Advice, tt.advice) {
				t.Errorf("explained: %s, steps %s, advice %s", x.Answer.Reason, stepNames(x), x.Advice)
			}
			if detail := stepDetail(x, "revocation"); detail != tt.revocation {
				t.Errorf("revocation: %q, want %q", detail, tt.revocation)
			}
		})
	}
}

func stepDetail(x *extauthz.Explanation, name string) string {
	i := slices.IndexFunc(x.Steps, func(s extauthz.Step) bool { return s.Name == name })
	if i < 0 {
		return ""
	}
	return x.Steps[i].Detail
}

func TestNewAuthorizerNeedsBoth(t *testing.T) {
	w := newWorld(t)
	engine, err := policy.New(t.Context(), policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]extauthz.Config{"nothing": {}, "no policy": {Tenants: w.directory}, "no tenants": {Policy: engine}} {
		if a, err := extauthz.NewAuthorizer(cfg); a != nil || err == nil || !strings.Contains(err.Error(), "needs tenants and a policy") {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// The subject is the claim sub, where there is one.
func TestSubjectOfAnswer(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	if got := a.Authorize(t.Context(), w.ask("GET", "/me", "subject_name")); !got.Allowed || got.Subject != "Älice B." || value(got.Headers, "x-user-id") != "u1" {
		t.Errorf("%s, subject %q, headers %v", got.Reason, got.Subject, got.Headers)
	}
}

// remoteWorld is one tenant whose keys come from a URL.
func remoteWorld(t *testing.T, url string, issuer *jwttest.Issuer) *world {
	t.Helper()
	fetcher := jwks.NewFetcher(jwks.FetcherConfig{})
	t.Cleanup(fetcher.Close)
	c := config(issuer, "acme", "acme.example")
	c.Key, c.Type, c.JWKSURL = tenants.Secret{}, "", url
	routes, _ := tenants.NewRoutes([]tenants.Route{{Match: "GET /me"}})
	tenant, err := c.Build("", tenants.Shared{Routes: routes, Fetcher: fetcher})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	directory, err := tenants.NewDirectory(tenants.Selection{}, []*tenants.Tenant{tenant})
	if err != nil {
		t.Fatal(err)
	}
	return &world{directory: directory, tokens: map[string]string{
		"alice": mint(t, issuer, claims(nil)), "other": mint(t, newIssuer(t, "acme-2"), claims(map[string]any{"iss": "https://sso.acme.example"})),
	}}
}

func TestKeysUnavailable(t *testing.T) {
	issuer := newIssuer(t, "acme")
	server := jwttest.NewServer(issuer)
	url := server.JWKSURL()
	server.Close()
	w := remoteWorld(t, url, issuer)
	a := w.authorizer(t, own(t, yes))
	if got := a.Authorize(t.Context(), w.ask("GET", "/me", "alice")); got.Allowed || got.Reason != answers.KeysUnavailable || got.Status != 503 {
		t.Errorf("%s, status %d: %v", got.Reason, got.Status, got.Err)
	}
	x := a.Explain(t.Context(), w.ask("GET", "/me", "alice"))
	if !strings.HasPrefix(x.Advice, "the keys of tenant acme can't be fetched from "+url+": ") || !strings.Contains(fmt.Sprint(x.Steps), url+", never fetched") {
		t.Errorf("advice %s, steps %v", x.Advice, x.Steps)
	}
}

// withRemoteKeys is an authorizer that has fetched its keys, the world of its
// requests, and where the keys are from.
func withRemoteKeys(t *testing.T) (a *extauthz.Authorizer, w *world, url string) {
	t.Helper()
	issuer := newIssuer(t, "acme")
	server := jwttest.NewServer(issuer)
	t.Cleanup(server.Close)
	w = remoteWorld(t, server.JWKSURL(), issuer)
	a = w.authorizer(t, own(t, yes))
	for !a.Authorize(t.Context(), w.ask("GET", "/me", "alice")).Allowed { // until the first fetch
		if t.Context().Err() != nil {
			t.Fatal("the keys never come")
		}
	}
	return a, w, server.JWKSURL()
}

func TestUnknownKey(t *testing.T) {
	a, w, url := withRemoteKeys(t)
	x := a.Explain(t.Context(), w.ask("GET", "/me", "other"))
	want := `the token's key, kid "acme-2"…, is none of those from ` + url + ", fetched … ago"
	if x.Answer.Reason != answers.TokenInvalid || !fits(want, x.Advice) {
		t.Errorf("%s: got  %s\nwant %s", x.Answer.Reason, x.Advice, want)
	}
}

// After a flood of unknown keys a token of one more is told when to come again:
// that of the error, not that of the reason.
func TestKeyThatIsHeldBack(t *testing.T) {
	a, w, url := withRemoteKeys(t)
	usual := strconv.Itoa(answers.KeysUnavailable.Row().RetryAfter)
	for i := range 20 {
		name := fmt.Sprint("flood-", i)
		w.tokens[name] = mint(t, newIssuer(t, name), claims(map[string]any{"iss": "https://sso.acme.example"}))
		got := a.Authorize(t.Context(), w.ask("GET", "/me", name))
		after := jwtverify.RetryAfter(got.Err)
		if after == 0 {
			continue
		}
		if seconds := value(got.Headers, "retry-after"); got.Reason != answers.KeysUnavailable || seconds != strconv.Itoa(int(after/time.Second)) || seconds == usual {
			t.Errorf("%s, retry-after %s; the error says %s, the reason %s", got.Reason, seconds, after, usual)
		}
		x := a.Explain(t.Context(), w.ask("GET", "/me", name))
		want := fmt.Sprintf(`the token's key, kid %q…, is none of those from %s, fetched … ago; it may be a new one, and the key URL is not fetched again yet`, name, url)
		if !fits(want, x.Advice) {
			t.Errorf("advice %s\nwant   %s", x.Advice, want)
		}
		return
	}
	t.Error("20 unknown keys, and none was held back")
}

// Envoy waits for the body of a request that asks for another protocol than a
// WebSocket: one that has arrived is whole. Where none has, it may still come.
func TestBodyOfAnUpgrade(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, own(t, `decision := {"allowed": true, "headers": {"x-seen": sprintf("%v %v", [input.truncated_body, input.parsed_body])}}`))
	for _, tt := range []struct {
		name, upgrade, body, want string
	}{
		{"none", "", "", "false null"},
		{"a body", "", "[1]", "false [1]"},
		{"a WebSocket", "WebSocket", "", "true null"},
		{"a WebSocket with a body", "WebSocket", "[1]", "true null"},
		{"another protocol", "h2c", "", "true null"},
		{"another protocol with a body", "h2c", "[1]", "false [1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := w.ask("GET", "/me", "alice", [2]string{"content-type", "application/json"})
			if m.Body = []byte(tt.body); tt.upgrade != "" {
				m.Headers = append(m.Headers, tenants.Header{Name: "upgrade", Value: tt.upgrade})
			}
			if got := a.Authorize(t.Context(), m); !got.Allowed || value(got.Headers, "x-seen") != tt.want {
				t.Errorf("got %s %+v: %v; want %s", got.Reason, got, got.Err, tt.want)
			}
		})
	}
}

// A message that is compressed is not inflated.
func TestCompressedChecks(t *testing.T) {
	w := newWorld(t)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(t, policy.Config{}))
	client := authv3.NewAuthorizationClient(serve(t, s))
	if response, err := client.Check(t.Context(), w.check("/me", "alice"), grpc.UseCompressor(gzip.Name)); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v, %v", response, err)
	}
	if response, err := client.Check(t.Context(), w.check("/me", "alice")); err != nil || reasonOf(response) != answers.Allowed {
		t.Errorf("not compressed: %v, %v", response, err)
	}
}

// A server that was made without ServerOptions can't read checks: that is an
// error of its own, and not one about what it answers.
func TestServerWithoutOptions(t *testing.T) {
	var logged bytes.Buffer
	s := extauthz.NewServer(extauthz.ServerConfig{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	server := grpc.NewServer()
	s.Register(server)
	client := authv3.NewAuthorizationClient(grpctest.Serve(t, server))
	response, err := client.Check(t.Context(), &authv3.CheckRequest{})
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "unmarshal") {
		t.Errorf("got %v, %v", response, err)
	}
	server.GracefulStop()
	if logged.Len() > 0 { // the denial of a check that nobody has read
		t.Errorf("decided: %s", logged.String())
	}
}

// An identity that no header can carry is not allowed, also where it was good
// when its headers were prepared.
func TestIdentityThatTurnedBad(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{})
	if got := extauthz.Whole(a, &jwtverify.Identity{UserID: "u1"}); !got.Allowed || value(got.Headers, "x-user-id") != "u1" {
		t.Errorf("a good one: %+v", got)
	}
	if got := extauthz.Whole(a, &jwtverify.Identity{UserID: "u 1"}); got.Allowed || got.Reason != answers.TokenInvalid {
		t.Errorf("got %v, %s", got.Allowed, got.Reason)
	}
}

// What can't be read is refused behind interceptors too: also where its
// beginning is a good request.
func TestUnreadableBehindInterceptors(t *testing.T) {
	w := newWorld(t)
	var logged bytes.Buffer
	s := extauthz.NewServer(extauthz.ServerConfig{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	s.Use(w.authorizer(t, own(t, yes)))
	conn := serve(t, s, grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(ctx, req)
	}))
	good, err := proto.Marshal(w.check("/me", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	if response, err := checkBytes(t.Context(), conn, good); err != nil || reasonOf(response) != answers.Allowed {
		t.Fatalf("the request itself: %v, %v", response, err)
	}
	for name, b := range map[string][]byte{"no message": {0xff}, "a good request and more": append(slices.Clone(good), 0x0a, 0x7f)} {
		t.Run(name, func(t *testing.T) {
			logged.Reset()
			response, err := checkBytes(t.Context(), conn, b)
			if err != nil || reasonOf(response) != answers.InvalidRequest {
				t.Errorf("got %v, %v", response, err)
			}
			requireSound(t, response)
			if !strings.Contains(logged.String(), extauthz.ErrNoMessage.Error()) {
				t.Errorf("logged %s", logged.String())
			}
		})
	}
}

// An answer that can't be read is no allow, which the zero value would be.
func TestUnreadableAnswer(t *testing.T) {
	if got := extauthz.DecodeAnswer([]byte{0xff}); got.GetStatus().GetCode() != int32(codes.Internal) || got.GetHttpResponse() != nil {
		t.Errorf("got %v", got)
	}
}

// A policy that reads input.attributes sees all of them or fails.
func TestAttributesOfPolicies(t *testing.T) {
	w := newWorld(t)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(t, own(t, `decision := {"allowed": true, "headers": {"x-seen": input.attributes.request.http.headers["x-a"]}} if input.attributes.request.http.headers
decision := {"allowed": true, "headers": {"x-seen": "none"}} if not input.attributes.request.http.headers`)))
	seen := func(change func(*authv3.CheckRequest)) (answers.Reason, string) {
		request := w.check("/me", "alice")
		change(request)
		response, err := s.Check(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range response.GetOkResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "x-seen" {
				return reasonOf(response), h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
			}
		}
		return reasonOf(response), ""
	}
	if reason, got := seen(func(r *authv3.CheckRequest) { r.Attributes.Request.Http.HeaderMap = nil }); reason != answers.Allowed || got != "none" {
		t.Errorf("without headers: %s %q", reason, got)
	}
	if reason, got := seen(func(r *authv3.CheckRequest) {
		r.Attributes.Request.Http.HeaderMap, r.Attributes.Request.Http.Headers = nil, map[string]string{"x-a": "1"}
	}); reason != answers.Allowed || got != "1" {
		t.Errorf("headers as a map: %s %q", reason, got)
	}
	if reason, got := seen(func(r *authv3.CheckRequest) {
		r.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x-a", RawValue: []byte("1")}, {Key: "x-a", Value: "2"}}}
	}); reason != answers.Allowed || got != "1,2" {
		t.Errorf("header lines: %s %q", reason, got)
	}
	// protojson can't write a message of a type that it does not know.
	unknown := w.check("/me", "alice")
	unknown.Attributes.MetadataContext = &corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"a": {TypeUrl: "type.example/no.such.Type", Value: []byte{8, 1}}}}
	if reason, got := seen(func(r *authv3.CheckRequest) { r.Attributes.MetadataContext = unknown.Attributes.MetadataContext }); reason != answers.PolicyError || got != "" {
		t.Errorf("metadata of an unknown type: %s %q", reason, got)
	}
	b, err := proto.Marshal(unknown)
	if err != nil {
		t.Fatal(err)
	}
	m, err := extauthz.ReadCheck(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Attributes(); got != nil || err == nil || !strings.Contains(err.Error(), "no.such.Type") {
		t.Errorf("metadata of an unknown type: %v, %v", got, err)
	}
}
