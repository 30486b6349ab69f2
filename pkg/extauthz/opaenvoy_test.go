package extauthz_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// These tests run policies as they are written for opa-envoy-plugin;
// docs/divergences.md says where the two differ.

// fullCheck is a check with every part that Envoy can fill in.
func (w *world) fullCheck(t *testing.T) *authv3.CheckRequest {
	t.Helper()
	address := func(host string, port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}
	}
	metadata := func(key, value string) *corev3.Metadata {
		fields, err := structpb.NewStruct(map[string]any{key: value, "n": 1})
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"some.filter": fields}}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{
			Address: address("192.0.2.7", 40312), Principal: "spiffe://mesh/ns/web/sa/shop", Service: "shop",
			Labels: map[string]string{"app": "shop"}, Certificate: "-----BEGIN%20CERTIFICATE-----",
		},
		Destination: &authv3.AttributeContext_Peer{Address: address("192.0.2.8", 8443), Principal: "spiffe://mesh/ns/api/sa/posts"},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1800000000},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "77", Method: "POST", Scheme: "https", Protocol: "HTTP/2", Host: "acme.example",
				Path: "/posts/a%20b/?lang=fa&lang=en&q=", Size: 18,
				Headers: map[string]string{
					":method": "POST", ":path": "/posts/a%20b/?lang=fa&lang=en&q=", ":authority": "acme.example", ":scheme": "https",
					"authorization": "Bearer " + w.tokens["alice"], "content-type": "application/json", "content-length": "18", "x-plan": "gold,silver",
				},
				Body: `{"title": "hello"}`,
			},
		},
		ContextExtensions:    map[string]string{"tenant": "acme", "tier": "gold"},
		MetadataContext:      metadata("plan", "gold"),
		RouteMetadataContext: metadata("owner", "team-posts"),
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "acme.example"},
	}}
}

func respond(t *testing.T, w *world, cfg policy.Config, check *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(t, cfg))
	response, err := authv3.NewAuthorizationClient(serve(t, s)).Check(t.Context(), check)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// Every expression must hold for fullCheck.
var envoyInput = []string{
	`input.attributes.source.address.socketAddress.address == "192.0.2.7"`,
	`input.attributes.source.address.socketAddress.portValue == 40312`,
	`input.attributes.source.principal == "spiffe://mesh/ns/web/sa/shop"`,
	`input.attributes.source.service == "shop"`,
	`input.attributes.source.labels.app == "shop"`,
	`startswith(urlquery.decode(input.attributes.source.certificate), "-----BEGIN CERT")`,
	`input.attributes.destination.address.socketAddress.portValue == 8443`,
	`input.attributes.destination.principal == "spiffe://mesh/ns/api/sa/posts"`,
	`input.attributes.request.time == "2027-01-15T08:00:00Z"`,
	`input.attributes.request.http.id == "77"`,
	`input.attributes.request.http.method == "POST"`,
	`input.attributes.request.http.scheme == "https"`,
	`input.attributes.request.http.protocol == "HTTP/2"`,
	`input.attributes.request.http.host == "acme.example"`,
	`input.attributes.request.http.path == "/posts/a%20b/?lang=fa&lang=en&q="`,
	`input.attributes.request.http.size == "18"`,
	`input.attributes.request.http.headers["x-plan"] == "gold,silver"`,
	`input.attributes.request.http.headers[":path"] == input.attributes.request.http.path`,
	`[_, token] := split(input.attributes.request.http.headers.authorization, " "); io.jwt.decode(token)[1].sub == "user:alice"`,
	`json.unmarshal(input.attributes.request.http.body).title == "hello"`,
	`input.attributes.contextExtensions.tier == "gold"`,
	`input.attributes.metadataContext.filterMetadata["some.filter"].plan == "gold"`,
	`input.attributes.routeMetadataContext.filterMetadata["some.filter"].owner == "team-posts"`,
	`input.attributes.tlsSession.sni == "acme.example"`,
	`input.parsed_path == ["posts", "a b", ""]`,
	`input.parsed_query == {"lang": ["fa", "en"], "q": [""]}`,
	`input.parsed_body == {"title": "hello"}`,
	`input.truncated_body == false`,
	`input.version.ext_authz == "v3"`,
	`input.version.encoding == "protojson"`,
}

func TestOPAEnvoyInput(t *testing.T) {
	w := newWorld(t)
	for _, expression := range envoyInput {
		t.Run(expression, func(t *testing.T) {
			for form, check := range map[string]*authv3.CheckRequest{"map": w.fullCheck(t), "raw lines": rawLines(w.fullCheck(t))} {
				response := respond(t, w, own(t, "default decision := false\ndecision if { "+expression+" }"), check)
				if reasonOf(response) != answers.Allowed {
					t.Errorf("headers as %s: %s", form, reasonOf(response))
				}
			}
		})
	}
}

// rawLines writes the headers as Envoy does with encode_raw_headers: a line for
// each value.
func rawLines(check *authv3.CheckRequest) *authv3.CheckRequest {
	http := check.Attributes.Request.Http
	http.HeaderMap = &corev3.HeaderMap{}
	for name, value := range http.Headers {
		if name != "x-plan" {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
		}
	}
	for _, value := range []string{"gold", "silver"} {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: "x-plan", RawValue: []byte(value)})
	}
	http.Headers = nil
	return check
}

func TestOPAEnvoyBodies(t *testing.T) {
	w := newWorld(t)
	form := "--b\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{\"n\": 1}\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n"
	for _, tt := range []struct {
		name, contentType, length, body, want string
	}{
		{"JSON", "application/json", "", `[1, {"a": null}]`, `input.parsed_body[1].a == null`},
		{"form", "application/x-www-form-urlencoded", "", "a=1&a=2&b=x+y", `input.parsed_body == {"a": ["1", "2"], "b": ["x y"]}`},
		{"multipart", "multipart/form-data; boundary=b", "", form, `input.parsed_body == {"meta": [{"n": 1}], "file": ["hello"]}`},
		{"truncated", "application/json", "100", `{"a": 1`, `{input.parsed_body, input.truncated_body} == {null, true}`},
		{"text", "text/plain", "", "hello", `{input.parsed_body, input.truncated_body} == {null, false}`},
		{"none", "application/json", "", "", `{input.parsed_body, input.truncated_body} == {null, false}`},
		{"gRPC without descriptors", "application/grpc", "", "\x00\x00\x00\x00\x00", `input.parsed_body == null`},
	} {
		for _, packed := range []bool{false, true} {
			check := w.fullCheck(t)
			http := check.Attributes.Request.Http
			http.Headers["content-type"] = tt.contentType
			delete(http.Headers, "content-length")
			if tt.length != "" {
				http.Headers["content-length"] = tt.length
			}
			http.Body, http.RawBody = tt.body, nil
			if packed {
				http.Body, http.RawBody = "", []byte(tt.body)
			}
			response := respond(t, w, own(t, "default decision := false\ndecision if "+tt.want), check)
			if reasonOf(response) != answers.Allowed {
				t.Errorf("%s, packed as bytes: %v: %s", tt.name, packed, reasonOf(response))
			}
		}
	}
}

// The primer's shape: one rule for each key, gathered in a partial object whose
// undefined members are left out.
const gathered = `
default allow := false

allow if input.attributes.request.http.headers["x-key"] == "open"

headers["x-checked-by"] := "gate"
request_headers_to_remove := ["x-key", "X-Debug"]
response_headers_to_add["x-cache"] := "no"
query_parameters_to_set := {"role": "guest", "tags": ["a", "b"]}
query_parameters_to_remove := ["lang"]
status_code := 200 if { allow } else := 401 if { not input.attributes.request.http.headers["x-key"] } else := 403
body := "who are you" if status_code == 401
dynamic_metadata := {"plan": {"n": 1, "names": ["a"]}}

result["allowed"] := allow
result["headers"] := headers
result["response_headers_to_add"] := response_headers_to_add
result["request_headers_to_remove"] := request_headers_to_remove
result["body"] := body
result["http_status"] := status_code
result["dynamic_metadata"] := dynamic_metadata
result["query_parameters_to_remove"] := query_parameters_to_remove
result["query_parameters_to_set"] := query_parameters_to_set
`

func TestOPAEnvoyResult(t *testing.T) {
	w := newWorld(t)
	cfg := own(t, gathered)
	cfg.Entrypoint = "own/result"
	ask := func(key string) *authv3.CheckResponse {
		check := w.fullCheck(t)
		if key != "" {
			check.Attributes.Request.Http.Headers["x-key"] = key
		}
		return respond(t, w, cfg, check)
	}
	ok := ask("open").GetOkResponse()
	if line(ok.GetHeaders(), "x-checked-by") != "gate" || line(ok.GetResponseHeadersToAdd(), "x-cache") != "no" {
		t.Errorf("headers: %v", ok)
	}
	if removed := strings.Join(ok.GetHeadersToRemove(), " "); !strings.Contains(removed, "x-key") || !strings.Contains(removed, "x-debug") {
		t.Errorf("removed: %s", removed)
	}
	var set []string
	for _, p := range ok.GetQueryParametersToSet() {
		set = append(set, p.Key+"="+p.Value)
	}
	if diff := cmp.Diff([]string{"role=guest", "tags=a", "tags=b"}, set); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"lang"}, ok.GetQueryParametersToRemove()); diff != "" {
		t.Error(diff)
	}
	stranger, wrong := ask(""), ask("shut")
	if d := stranger.GetDeniedResponse(); d.GetStatus().GetCode() != 401 || d.GetBody() != "who are you" || line(d.GetHeaders(), "x-checked-by") != "gate" {
		t.Errorf("401: %v", stranger)
	}
	if d := wrong.GetDeniedResponse(); d.GetStatus().GetCode() != 403 || !strings.Contains(d.GetBody(), "Insufficient permissions") {
		t.Errorf("403: %v", wrong)
	}
	plan := stranger.GetDynamicMetadata().GetFields()["plan"].GetStructValue()
	if plan.GetFields()["n"].GetNumberValue() != 1 || len(plan.GetFields()["names"].GetListValue().GetValues()) != 1 {
		t.Errorf("metadata: %v", stranger.GetDynamicMetadata())
	}
}

// Lists of values, and headers as an array of objects.
func TestOPAEnvoyHeaderLists(t *testing.T) {
	w := newWorld(t)
	const lists = `"headers": [{"x-a": "1"}, {"x-a": "2"}, {"Set-Cookie": ["a=1", "b=2"]}], "response_headers_to_add": {"x-r": ["1", "2"]}`
	allowed := respond(t, w, own(t, `decision := {"allowed": true, `+lists+`}`), w.fullCheck(t)).GetOkResponse()
	if got := line(allowed.GetHeaders(), "x-a"); got != "1, 2" { // each line overwrites: two would be the last one
		t.Errorf("x-a for the upstream: %q", got)
	}
	if got := line(allowed.GetResponseHeadersToAdd(), "x-r"); got != "1 | 2" {
		t.Errorf("x-r for the client: %q", got)
	}
	denied := respond(t, w, own(t, `decision := {"allowed": false, `+lists+`}`), w.fullCheck(t)).GetDeniedResponse()
	if got := line(denied.GetHeaders(), "set-cookie"); got != "a=1 | b=2" {
		t.Errorf("set-cookie of a denial: %q", got)
	}
}

// line returns the values of a header, with bars where there are several lines.
func line(headers []*corev3.HeaderValueOption, name string) string {
	var values []string
	for _, h := range headers {
		if h.GetHeader().GetKey() == name {
			values = append(values, h.GetHeader().GetValue())
		}
	}
	return strings.Join(values, " | ")
}

// The attributes are protojson's own, all of them, in each form that Envoy has.
func TestOPAEnvoyAttributesAreProtoJSON(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*authv3.AttributeContext){
		"as Envoy sends most": func(*authv3.AttributeContext) {},
		"a body as bytes": func(a *authv3.AttributeContext) {
			a.Request.Http.Body, a.Request.Http.RawBody = "", []byte("\xff{}\x00")
			a.Request.Http.Headers["content-type"] = "application/octet-stream"
		},
		"a client on a socket": func(a *authv3.AttributeContext) {
			a.Source.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/envoy.sock"}}}
		},
		"typed metadata": func(a *authv3.AttributeContext) {
			typed, err := anypb.New(&corev3.Pipe{Path: "typed"})
			if err != nil {
				t.Fatal(err)
			}
			a.MetadataContext.TypedFilterMetadata = map[string]*anypb.Any{"some.filter": typed}
		},
		"a fraction of a second": func(a *authv3.AttributeContext) { a.Request.Time.Nanos = 123456789 },
	} {
		check := w.fullCheck(t)
		change(check.Attributes)
		text, err := protojson.Marshal(check.GetAttributes())
		if err != nil {
			t.Fatal(err)
		}
		cfg := own(t, "decision := input.attributes == json.unmarshal("+quoteRego(string(text))+")")
		if r := reasonOf(respond(t, w, cfg, proto.Clone(check).(*authv3.CheckRequest))); r != answers.Allowed {
			t.Errorf("%s: the attributes are not %s: %s", name, text, r)
		}
	}
}

// gRPC messages, as the plugin reads them with proto-descriptor.
func TestOPAEnvoyGRPC(t *testing.T) {
	w := newWorld(t)
	set := prototest.Write(t, prototest.Set(prototest.Compile(t, `
		syntax = "proto3";
		package p;
		service S { rpc Get(M) returns (M); rpc Put(stream M) returns (M); }
		message M { string some_name = 1; }`)))
	const frame = "\x00\x00\x00\x00\x03\x0a\x01a"
	read := `input.parsed_body == {"someName": "a"}`
	null := `[input.parsed_body, input.truncated_body] == [null, false]`
	for _, tt := range []struct {
		name, path, body, rego string
		text                   bool // not pack_as_bytes
		want                   answers.Reason
	}{
		{name: "a message", path: "/p.S/Get", body: frame, rego: read, want: answers.Allowed},
		{name: "cut", path: "/p.S/Get", body: frame[:7], rego: "input.truncated_body", want: answers.Allowed},
		{name: "as text", path: "/p.S/Get", body: frame, text: true, rego: null, want: answers.Allowed},
		{name: "a client that streams", path: "/p.S/Put", body: frame, rego: null, want: answers.Allowed},
		{name: "an unknown method", path: "/p.S/Nothing", body: frame, rego: null, want: answers.Allowed},
		{name: "no call", path: "/p.S/Get/x", body: frame, rego: null, want: answers.Allowed},
		{name: "compressed", path: "/p.S/Get", body: "\x01" + frame[1:], rego: null, want: answers.InvalidRequest},
		{name: "two messages", path: "/p.S/Get", body: frame + frame, rego: read, want: answers.InvalidRequest},
	} {
		check := w.fullCheck(t)
		http := check.Attributes.Request.Http
		http.Path, http.Headers[":path"] = tt.path, tt.path
		http.Headers["content-type"] = "application/grpc"
		delete(http.Headers, "content-length")
		if http.Body, http.RawBody = "", []byte(tt.body); tt.text {
			http.Body, http.RawBody = tt.body, nil
		}
		cfg := own(t, "default decision := false\ndecision if "+tt.rego)
		cfg.ProtoDescriptor = set
		if got := reasonOf(respond(t, w, cfg, check)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func quoteRego(s string) string { return "`" + s + "`" }

// opaEnvoyCase is a policy and a request that opa-envoy-plugin answers in another
// way, or understands in another way: the policy then asks for our way.
type opaEnvoyCase struct {
	name, rego string
	change     func(*authv3.CheckRequest)
	want       answers.Reason
}

// doesNotLoad stands for the reason where the policy is refused at the start.
const doesNotLoad answers.Reason = "does not load"

func onPath(p string) func(*authv3.CheckRequest) {
	return func(c *authv3.CheckRequest) {
		http := c.Attributes.Request.Http
		http.Path, http.Headers[":path"] = p, p
	}
}

func withHeader(name, value string) func(*authv3.CheckRequest) {
	return func(c *authv3.CheckRequest) { c.Attributes.Request.Http.Headers[name] = value }
}

func withBody(contentType, text string) func(*authv3.CheckRequest) {
	return func(c *authv3.CheckRequest) {
		http := c.Attributes.Request.Http
		http.Body, http.Headers["content-type"] = text, contentType
		delete(http.Headers, "content-length")
	}
}

// withMessage makes the check one about a gRPC call of shop.S.
func withMessage(contentType, target, framed string) func(*authv3.CheckRequest) {
	return func(c *authv3.CheckRequest) {
		onPath(target)(c)
		withBody(contentType, "")(c)
		c.Attributes.Request.Http.RawBody = []byte(framed)
	}
}

func opaEnvoyInputCases() []opaEnvoyCase {
	const readsBody = `decision if input.parsed_body`
	const frame = "\x00\x00\x00\x00\x03\x0a\x01a"
	null := `decision if [input.parsed_body, input.truncated_body] == [null, false]`
	return []opaEnvoyCase{
		{"raw header lines", `decision if input.attributes.request.http.headers["x-plan"] == "gold,silver"`, func(c *authv3.CheckRequest) { rawLines(c) }, answers.Allowed},
		{"an encoded slash", `decision := true`, onPath("/a%2Fb"), answers.InvalidRequest},
		{"dot segments", `decision := true`, onPath("/a/../b"), answers.InvalidRequest},
		{"empty segments", `decision := true`, onPath("/a//b"), answers.InvalidRequest},
		{"a pair that does not decode", `decision if input.parsed_query == {"a": ["%zz"]}`, onPath("/?a=%zz"), answers.Allowed},
		{"a content type in capitals", `decision if input.parsed_body == {"title": "hello"}`, withHeader("content-type", "Application/JSON"), answers.Allowed},
		{"a name twice in a JSON object", readsBody, withBody("application/json", `{"role": "user", "role": "admin"}`), answers.InvalidRequest},
		{"a part without a name", readsBody, withBody("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"), answers.InvalidRequest},
		{"a body that is no JSON, and nobody reads it", `decision if input.request.method`, withBody("application/json", "{"), answers.Allowed},
		{"a length that is no number, and nobody reads the body", `decision if input.request.method`, withHeader("content-length", "many"), answers.Allowed},
		{"more than its length", readsBody, withHeader("content-length", "17"), answers.InvalidRequest},
		{"a content encoding", readsBody, withHeader("content-encoding", "gzip"), answers.InvalidRequest},
		{"a WebSocket", `decision if [input.parsed_body, input.truncated_body] == [null, true]`, withHeader("upgrade", "WebSocket"), answers.Allowed},
		{"a compressed gRPC message", readsBody, withMessage("application/grpc", "/shop.S/Get", "\x01"+frame[1:]), answers.InvalidRequest},
		{"a gRPC message in base64", readsBody, withMessage("application/grpc-web-text", "/shop.S/Get", "AAAAAAMKAWE="), answers.InvalidRequest},
		{"two gRPC messages", readsBody, withMessage("application/grpc", "/shop.S/Get", frame+frame), answers.InvalidRequest},
		{"a gRPC path of three segments", null, withMessage("application/grpc", "/shop.S/Get/x", frame), answers.Allowed},
		{"the size of a request", `decision if input.attributes.request.http.size == "18"`, nil, answers.Allowed},
		{"the time of a request", `decision if input.attributes.request.time == "2027-01-15T08:00:00Z"`, nil, answers.Allowed},
		{"input.source_principal", `decision if input.source_principal`, nil, doesNotLoad},
		{"an invalid token", `decision := true`, withHeader("authorization", "Bearer x.y.z"), answers.TokenInvalid},
		{"an unknown tenant", `decision := true`, func(c *authv3.CheckRequest) { c.Attributes.ContextExtensions["tenant"] = "nobody" }, answers.InvalidTenant},
	}
}

func opaEnvoyResultCases() []opaEnvoyCase {
	return []opaEnvoyCase{
		{"undefined", `decision if false`, nil, answers.PolicyError},
		{"a string", `decision := "true"`, nil, answers.PolicyError},
		{"a misspelt key", `decision := {"allowed": true, "http_statsu": 1}`, nil, answers.PolicyError},
		{"an identity header", `decision := {"allowed": true, "headers": {"x-user-id": "root"}}`, nil, answers.PolicyError},
		{"the host", `decision := {"allowed": true, "headers": {"host": "b"}}`, nil, answers.PolicyError},
		{"a header of Envoy", `decision := {"allowed": true, "headers": {"x-envoy-original-path": "/"}}`, nil, answers.PolicyError},
		{"a line break in a header", `decision := {"allowed": true, "headers": {"x-a": "1\r\nx-b: 2"}}`, nil, answers.PolicyError},
		{"http_status 100", `decision := {"allowed": false, "http_status": 100}`, nil, answers.PolicyError},
		{"one name as a string", `decision := {"allowed": true, "request_headers_to_remove": "x-a"}`, nil, answers.Allowed},
	}
}

func opaEnvoyRegoCases() []opaEnvoyCase {
	return []opaEnvoyCase{
		{"http.send", `decision if http.send({"method": "GET", "url": "http://127.0.0.1"}).status_code == 200`, nil, doesNotLoad},
		{"net.lookup_ip_addr", `decision if net.lookup_ip_addr("localhost")`, nil, doesNotLoad},
		{"a member that never exists", `decision if input.atributes.request`, nil, doesNotLoad},
		{"Rego v0", "decision { true }", nil, doesNotLoad},
		{"opa.runtime", `decision if opa.runtime() == {}`, nil, answers.Allowed},
		{"an endless evaluation", `decision if count([1 | numbers.range(1, 100000)[_]; numbers.range(1, 100000)[_]]) > 0`, nil, answers.PolicyError},
	}
}

// Each row of docs/divergences.md about opa-envoy-plugin is a case, each case has
// a row, and the row says how the service answers.
func TestOPAEnvoyDivergences(t *testing.T) {
	w := newWorld(t)
	set := prototest.Write(t, prototest.Set(prototest.Compile(t, `
		syntax = "proto3";
		package shop;
		service S { rpc Get(M) returns (M); }
		message M { string name = 1; }`)))
	for section, cases := range map[string][]opaEnvoyCase{
		"opa-envoy-plugin: input":  opaEnvoyInputCases(),
		"opa-envoy-plugin: result": opaEnvoyResultCases(),
		"opa-envoy-plugin: Rego":   opaEnvoyRegoCases(),
	} {
		listed := testkit.ReadDivergences(t, section)
		for _, c := range cases {
			cfg := own(t, c.rego)
			cfg.ProtoDescriptor = set
			if c.name == "an endless evaluation" {
				cfg.Timeout = policy.DefaultTimeout
			}
			got := doesNotLoad
			if _, err := policy.New(t.Context(), cfg); err == nil {
				check := w.fullCheck(t)
				if c.change != nil {
					c.change(check)
				}
				got = reasonOf(respond(t, w, cfg, check))
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
			if row := listed.Find(c.name); row == nil {
				t.Errorf("docs/divergences.md has no row for %q in %q", c.name, section)
			} else if said := strings.ReplaceAll(row.Here, "`", ""); !strings.HasPrefix(said, string(got)) {
				t.Errorf("%v says %q, and the service answers %s", row, row.Here, got)
			}
		}
		listed.Finish(t)
	}
}

// What both understand alike, beside what they don't.
func TestOPAEnvoyAgrees(t *testing.T) {
	w := newWorld(t)
	for _, c := range []opaEnvoyCase{
		{"another scheme is the policy's business", `decision if startswith(input.attributes.request.http.headers.authorization, "Basic ")`, withHeader("authorization", "Basic dTpw"), answers.Allowed},
		{"Envoy says that it cut", `decision if [input.parsed_body, input.truncated_body] == [null, true]`, func(c *authv3.CheckRequest) {
			delete(c.Attributes.Request.Http.Headers, "content-length")
			withHeader("x-envoy-auth-partial-body", "true")(c)
		}, answers.Allowed},
		{"Envoy says that it did not", `decision if input.parsed_body.title == "hello"`, withHeader("x-envoy-auth-partial-body", "false"), answers.Allowed},
		{"less than its length", `decision if [input.parsed_body, input.truncated_body] == [null, true]`, withHeader("content-length", "19"), answers.Allowed},
		{"a length that is no number", `decision if input.parsed_body.title == "hello"`, withHeader("content-length", "many"), answers.InvalidRequest},
		{"a second document", `decision if input.parsed_body`, withBody("application/json", `{"a": 11} {"b": 22}`), answers.InvalidRequest},
		{"a multipart form without a boundary", `decision if [input.parsed_body, input.truncated_body] == [null, false]`, withHeader("content-type", "multipart/form-data"), answers.Allowed},
		{"names as a set", `decision := {"allowed": true, "query_parameters_to_remove": {"a", "b"}}`, func(*authv3.CheckRequest) {}, answers.Allowed},
	} {
		check := w.fullCheck(t)
		c.change(check)
		if got := reasonOf(respond(t, w, own(t, c.rego), check)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What an answer holds that the plugin's does not, as the page says below its tables.
func TestOPAEnvoyAnswers(t *testing.T) {
	w := newWorld(t)
	set := respond(t, w, own(t, `decision := {"allowed": true, "query_parameters_to_set": {"q": "a b%20c"}}`), w.fullCheck(t))
	if q := set.GetOkResponse().GetQueryParametersToSet(); len(q) != 1 || q[0].GetValue() != "a%20b%20c" {
		t.Errorf("query: %v", q)
	}
	for _, name := range []string{"decision_id", "tenant", "reason", "sub", "workspace_id", "policy_revision"} {
		if set.GetDynamicMetadata().GetFields()[name] == nil {
			t.Errorf("no %s in the dynamic metadata", name)
		}
	}
	denied := respond(t, w, own(t, `decision := false`), w.fullCheck(t)).GetDeniedResponse()
	if !strings.Contains(denied.GetBody(), `"reason":"policy_denied"`) {
		t.Errorf("the body of a denial: %s", denied.GetBody())
	}
}
