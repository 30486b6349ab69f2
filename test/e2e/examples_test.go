package e2e

import (
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
)

// exampleBase is the configuration around each example's own part.
const exampleBase = `
listen: ${env:USSOAUTHZ_LISTEN}
admin: {listen: "${env:USSOAUTHZ_ADMIN}"}
shutdown: {drain: 0s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.acme.example", audience: posts, jwks_url: "${env:ACME_SSO}/.well-known/jwks.json"}
  globex: {hosts: [globex.example], issuer: "https://sso.globex.example", audience: posts, jwks_url: "${env:GLOBEX_SSO}/.well-known/jwks.json"}
`

const exampleRoutes = `
routes:
  - match: "GET /open"
    public: true
  - match: "DELETE /posts/{id}"
    scopes: [delete:posts]
  - match: /
`

var (
	bob       = &tour.Token{Tenant: "acme", Subject: "user:bob", Scopes: []string{"read:posts"}}
	cleaner   = &tour.Token{Tenant: "acme", Subject: "user:carol", Scopes: []string{"read:posts", "delete:posts"}}
	editor    = &tour.Token{Tenant: "acme", Subject: "user:ed", Roles: []string{"editor"}}
	moderator = &tour.Token{Tenant: "acme", Subject: "user:mona", Roles: []string{"moderator"}, Scopes: []string{"delete:posts"}}
	treasurer = &tour.Token{Tenant: "acme", Subject: "user:tess", Roles: []string{"treasurer"}}
	gwen      = &tour.Token{Tenant: "globex", Subject: "user:gwen"}
)

// exchange is a request to an example, and what it must lead to.
type exchange struct {
	name, line string // "GET /open"
	token      *tour.Token
	headers    [][2]string
	body       string
	status     int    // 0: whatever the application says
	reason     string // "envoy": no body of ours
	client     string // a header that the client must get, as "name: value"
	app        string // a header that the application must get
	missing    string // a header that it must not get
}

// example runs one folder of policies/examples.
type example struct {
	data      string // instead of its data.json
	envoy     func(string) string
	exchanges []exchange
	calls     []call // gRPC; then the application is a gRPC server
}

// call is a gRPC call to an example, and the code that it must end with.
type call struct {
	method  string
	token   *tour.Token
	body    post
	options []grpc.CallOption
	want    codes.Code
}

// post is shop.v1.Post of the example, as its client makes it.
type post struct {
	title     string
	published bool
	price     int64
}

func (p post) message(t *testing.T) proto.Message {
	t.Helper()
	source, err := os.ReadFile(file(t, "policies/examples/grpc-body/shop.proto"))
	if err != nil {
		t.Fatal(err)
	}
	d := prototest.Compile(t, string(source)).Messages().ByName("Post")
	m := dynamicpb.NewMessage(d)
	m.Set(d.Fields().ByName("title"), protoreflect.ValueOfString(p.title))
	m.Set(d.Fields().ByName("published"), protoreflect.ValueOfBool(p.published))
	m.Set(d.Fields().ByName("price_cents"), protoreflect.ValueOfInt64(p.price))
	return m
}

var examples = map[string][]example{
	"own-rules": {{exchanges: []exchange{
		{name: "what the routes refuse", line: "DELETE /posts/1", token: bob, status: 403, reason: "insufficient_scope"},
		{name: "what the rule refuses", line: "DELETE /posts/1", token: cleaner, status: 403, reason: "published"},
		{name: "what both allow", line: "DELETE /posts/1", token: moderator, reason: "allowed"},
		{name: "what the rule is not about", line: "GET /posts", token: bob, reason: "allowed"},
	}}},
	"time-of-day": {
		{data: `{"opening": {"zone": "Asia/Tehran", "days": ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"], "from": 0, "to": 24}}`, exchanges: []exchange{
			{name: "writing while open", line: "POST /posts", token: bob, reason: "allowed"},
		}},
		{data: `{"opening": {"zone": "Asia/Tehran", "days": [], "from": 8, "to": 18}}`, exchanges: []exchange{
			{name: "writing while shut", line: "POST /posts", token: bob, status: 403, reason: "closed"},
			{name: "reading while shut", line: "GET /posts", token: bob, reason: "allowed"},
			{name: "no token", line: "GET /posts", status: 401, reason: "token_not_found"},
		}},
	},
	"body-inspection": {{envoy: sendBodies("8192, allow_partial_message: true"), exchanges: []exchange{
		{name: "a small amount", line: "POST /transfers", token: bob, body: `{"amount": 5}`, reason: "allowed"},
		{name: "a large one", line: "POST /transfers", token: bob, body: `{"amount": 5000}`, status: 403, reason: "amount"},
		{name: "a large one of a treasurer", line: "POST /transfers", token: treasurer, body: `{"amount": 5000}`, reason: "allowed"},
		{name: "a body that Envoy cuts", line: "POST /transfers", token: treasurer, body: `{"amount": 5, "note": "` + strings.Repeat("x", 9000) + `"}`, status: 413, reason: "body_too_large"},
		{name: "no JSON", line: "POST /transfers", token: treasurer, body: `{"amount": 5} x`, status: 400, reason: "invalid_request"},
		{name: "elsewhere", line: "POST /posts", token: bob, body: `{"amount": 5000}`, reason: "allowed"},
	}}},
	"per-tenant": {{exchanges: []exchange{
		{name: "paid for", line: "GET /exports", token: bob, reason: "allowed"},
		{name: "not paid for", line: "GET /exports", token: gwen, status: 402, reason: "not_in_plan"},
		{name: "free", line: "GET /posts", token: gwen, reason: "allowed"},
	}}},
	"login-redirect": {{exchanges: []exchange{
		{name: "a browser", line: "GET /posts/1", headers: [][2]string{{"Accept", "text/html,*/*"}}, status: 302, reason: "envoy", client: "Location: https://sso.acme.example/login?next=%2Fposts%2F1"},
		{name: "a script", line: "GET /posts/1", status: 401, reason: "token_not_found"},
		{name: "a browser with a token", line: "GET /posts/1", token: bob, headers: [][2]string{{"Accept", "text/html"}}, reason: "allowed"},
		{name: "a public page", line: "GET /open", headers: [][2]string{{"Accept", "text/html"}}, reason: "allowed"},
	}}},
	"response-headers": {{exchanges: []exchange{
		{name: "a stranger", line: "GET /open", headers: [][2]string{{"X-Debug", "1"}}, reason: "allowed", client: "Cache-Control: public, max-age=60", app: "X-Audience: public", missing: "X-Debug"},
		{name: "an editor", line: "GET /posts", token: editor, headers: [][2]string{{"X-Audience", "spoofed"}}, reason: "allowed", client: "Vary: authorization,cookie", app: "X-Audience: staff"},
		{name: "a denial", line: "DELETE /posts/1", token: bob, status: 403, reason: "insufficient_scope", client: "Cache-Control: no-store"},
	}}},
	// What Envoy has under its filter's name is what a rate limit's action finds.
	"rate-limit": {{envoy: replace("route: {cluster: upstream, timeout: 15s}",
		`route: {cluster: upstream, timeout: 15s}
                          response_headers_to_add: [{header: {key: x-rate, value: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:rate:who)% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:rate:per_minute)%"}}]`),
		exchanges: []exchange{
			{name: "a user", line: "GET /posts", token: bob, reason: "allowed", client: "X-Rate: acme/user:bob 60"},
			{name: "a stranger", line: "GET /open", reason: "allowed", client: "X-Rate: acme/anonymous 60"},
		}}},
	"default-routes": {{exchanges: []exchange{
		{name: "public", line: "GET /health", reason: "allowed"},
		{name: "no token", line: "GET /posts/1", status: 401, reason: "token_not_found"},
		{name: "a scope", line: "GET /posts/1", token: bob, reason: "allowed"},
		{name: "no scope", line: "POST /posts", token: bob, status: 403, reason: "insufficient_scope"},
		{name: "no role", line: "GET /admin/users", token: bob, status: 403, reason: "insufficient_role"},
		{name: "a role", line: "GET /admin/users", token: &tour.Token{Tenant: "acme", Subject: "user:al", Roles: []string{"auditor"}}, reason: "allowed"},
		{name: "another workspace", line: "GET /workspaces/ws_2/projects", token: &tour.Token{Tenant: "acme", Subject: "user:al", Workspace: "ws_1"}, status: 403, reason: "workspace_mismatch"},
		{name: "the scope language", line: "PUT /media/a/b", token: &tour.Token{Tenant: "acme", Subject: "user:al", Scopes: []string{"manage:media/*"}}, reason: "allowed"},
		{name: "a lower level", line: "PUT /media/a/b", token: &tour.Token{Tenant: "acme", Subject: "user:al", Scopes: []string{"create:media/files"}}, status: 403, reason: "insufficient_scope"},
		{name: "no route", line: "GET /elsewhere", token: bob, status: 403, reason: "no_route"},
	}}},
	"own-routes": {{exchanges: []exchange{
		{name: "open", line: "GET /health", reason: "allowed"},
		{name: "no token", line: "GET /posts/1", status: 401, reason: "token_not_found"},
		{name: "a scope", line: "GET /posts/a%20b", token: bob, reason: "allowed"},
		{name: "one's own", line: "PUT /users/user:bob", token: bob, reason: "allowed"},
		{name: "another's", line: "PUT /users/user:carol", token: bob, status: 403, reason: "policy_denied"},
		{name: "below a workspace", line: "GET /workspaces/ws_1/files/a/b", token: &tour.Token{Tenant: "acme", Subject: "user:al", Workspace: "ws_1"}, reason: "allowed"},
		{name: "what is kept there", line: "GET /workspaces/ws_1/files/private/b", token: &tour.Token{Tenant: "acme", Subject: "user:al", Workspace: "ws_1"}, status: 403, reason: "policy_denied"},
	}}},
	"grpc-body": {{envoy: sendBodies("65536"), calls: []call{
		{method: "/shop.v1.Posts/Create", token: bob, body: post{title: "a"}, want: codes.OK},
		{method: "/shop.v1.Posts/Create", token: bob, body: post{title: "a", published: true}, want: codes.PermissionDenied},
		{method: "/shop.v1.Posts/Create", token: bob, body: post{title: strings.Repeat("x", 300), price: 1 << 60}, want: codes.PermissionDenied},
		{method: "/shop.v1.Posts/Create", token: editor, body: post{title: "\u00fc", published: true}, want: codes.OK},
		{method: "/shop.v1.Posts/Create", token: editor, body: post{title: "a"}, options: []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, want: codes.InvalidArgument},
		{method: "/shop.v1.Posts/Create", body: post{title: "a"}, want: codes.Unauthenticated},
		{method: "/shop.v1.Posts/Get", token: bob, body: post{published: true}, want: codes.OK},
	}}},
	"grpc-method": {{calls: []call{
		{method: "/grpc.health.v1.Health/Check", want: codes.OK},
		{method: "/shop.v1.Posts/Get", want: codes.Unauthenticated},
		{method: "/shop.v1.Posts/Get", token: bob, want: codes.OK},
		{method: "/shop.v1.Posts/Delete", token: bob, want: codes.PermissionDenied},
		{method: "/shop.v1.Posts/Delete", token: cleaner, want: codes.OK},
		{method: "/shop.v1.Posts/Nothing", token: cleaner, want: codes.PermissionDenied},
	}}},
}

// TestExamples runs every example's configuration in the real service behind a
// real Envoy, with real tokens. An example without a case fails.
func TestExamples(t *testing.T) {
	folders, err := os.ReadDir(file(t, "policies/examples"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range folders {
		names = append(names, f.Name())
	}
	if want := slices.Sorted(maps.Keys(examples)); !slices.Equal(names, want) {
		t.Fatalf("the examples are %v, the cases %v", names, want)
	}
	for _, name := range names {
		for i, ex := range examples[name] {
			t.Run(name+" "+strconv.Itoa(i+1), func(t *testing.T) {
				w := start(t, func(w *world, c *stack.Config) {
					c.File = exampleFile(t, name, ex.data)
					edit := ex.envoy
					if len(ex.calls) > 0 {
						c.Upstream, edit = grpcApplication(t), chain(ex.envoy, upstreamHTTP2)
					}
					if edit != nil {
						c.Edit = func(text []byte) []byte { return []byte(edit(string(text))) }
					}
				})
				for n, e := range ex.exchanges {
					w.exchange(t, n+1, e)
				}
				w.calls(t, ex.calls)
			})
		}
	}
}

// exampleFile writes an example as a user would: its ussoauthz.yaml with tenants
// around it, and its files where paths says.
func exampleFile(t *testing.T, name, data string) string {
	t.Helper()
	from, dir := file(t, "policies/examples/"+name), t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(dir, "policies", "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := exampleBase + string(own)
	if !strings.Contains(text, "\nroutes:") {
		text += exampleRoutes
	}
	files := map[string]string{"ussoauthz.yaml": text}
	sources, err := filepath.Glob(filepath.Join(from, "*.proto"))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		set, err := os.ReadFile(prototest.Write(t, prototest.Set(prototest.Compile(t, string(text)))))
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(source), ".proto")+".pb"] = string(set)
	}
	if data != "" {
		files["policies/data.json"] = data
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "ussoauthz.yaml")
}

func (w *world) exchange(t *testing.T, n int, e exchange) {
	t.Helper()
	method, path, _ := strings.Cut(e.line, " ")
	host := "acme.example"
	if e.token != nil {
		host = e.token.Tenant + ".example"
	}
	a := w.do(t, tour.Step{Method: method, Host: host, Path: path, Token: e.token, Headers: e.headers, Body: e.body}, n)
	if a.Reason() != e.reason || e.status != 0 && a.Status != e.status {
		t.Errorf("%s: %d %s, want %d %s (%s)", e.name, a.Status, a.Reason(), e.status, e.reason, a.Body)
	}
	for side, want := range map[string]string{"client": e.client, "application": e.app} {
		header, got := a.Header, ""
		if side == "application" {
			header = a.Seen
		}
		name, value, _ := strings.Cut(want, ": ")
		if got = strings.Join(header.Values(name), "|"); want != "" && got != value {
			t.Errorf("%s: the %s got %s %q, want %q", e.name, side, name, got, value)
		}
	}
	if e.missing != "" && a.Seen.Values(e.missing) != nil {
		t.Errorf("%s: the application got %s", e.name, e.missing)
	}
}

// calls makes gRPC calls with a client of grpc-go's.
func (w *world) calls(t *testing.T, calls []call) {
	t.Helper()
	if len(calls) == 0 {
		return
	}
	conn, err := grpc.NewClient(strings.TrimPrefix(w.Edge, "http://"), grpc.WithAuthority("acme.example"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the calls are over
	for i, c := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), w.client.Timeout)
		if c.token != nil {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.token(t, c.token))
		}
		err := conn.Invoke(ctx, c.method, c.body.message(t), &emptypb.Empty{}, c.options...)
		cancel()
		if status.Code(err) != c.want {
			t.Errorf("call %d, %s: %v, want %s", i+1, c.method, err, c.want)
		}
	}
}

// grpcApplication serves every method of every service with an empty answer.
func grpcApplication(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// replace makes an edit that must find what it replaces.
func replace(old, new string) func(string) string {
	return func(text string) string {
		if !strings.Contains(text, old) {
			panic("envoy.yaml has no " + old)
		}
		return strings.ReplaceAll(text, old, new)
	}
}

func chain(edits ...func(string) string) func(string) string {
	return func(text string) string {
		for _, edit := range edits {
			if edit != nil {
				text = edit(text)
			}
		}
		return text
	}
}

func sendBodies(limit string) func(string) string {
	return replace("# with_request_body:", "with_request_body: {pack_as_bytes: true, max_request_bytes: "+limit+"}")
}

var upstreamHTTP2 = replace("    - name: upstream\n", `    - name: upstream
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`)
