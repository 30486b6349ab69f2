//go:build !race

package service_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// expensiveCalls is a policy whose functions take what the client sent.
const expensiveCalls = "testdata/expensive-calls"

// honest are requests that each example allows, without host and token. No two in
// a row are the same, so that they are not answered from the decision cache alone.
var honest = map[string]func(i int) *authv3.AttributeContext_HttpRequest{
	"body-inspection": func(i int) *authv3.AttributeContext_HttpRequest {
		r := plain("POST", "/transfers")
		r.Headers["content-type"], r.Body = "application/json", fmt.Sprintf(`{"amount": %d}`, 1+i%1000)
		return r
	},
	"grpc-body": func(i int) *authv3.AttributeContext_HttpRequest {
		r := plain("POST", "/shop.v1.Posts/Create")
		title := fmt.Sprintf("title %06d", i)
		r.Headers["content-type"], r.RawBody = "application/grpc", framed(append([]byte{0x0a, byte(len(title))}, title...))
		return r
	},
	"grpc-method": func(i int) *authv3.AttributeContext_HttpRequest {
		r := plain("POST", "/shop.v1.Posts/Get")
		r.Headers["content-type"], r.Headers["x-request-id"] = "application/grpc", fmt.Sprint(i)
		return r
	},
	"login-redirect": func(i int) *authv3.AttributeContext_HttpRequest {
		r := plain("GET", fmt.Sprint("/posts/", i))
		r.Headers["accept"] = "text/html"
		return r
	},
	"default-routes":   posts,
	"own-routes":       posts,
	"per-tenant":       func(i int) *authv3.AttributeContext_HttpRequest { return plain("GET", fmt.Sprint("/exports/", i)) },
	"own-rules":        func(i int) *authv3.AttributeContext_HttpRequest { return plain("DELETE", fmt.Sprint("/posts/", i)) },
	"rate-limit":       posts,
	"response-headers": posts,
	"time-of-day":      posts,
	"expensive-calls":  posts,
}

func posts(i int) *authv3.AttributeContext_HttpRequest { return plain("GET", fmt.Sprint("/posts/", i)) }

func plain(method, path string) *authv3.AttributeContext_HttpRequest {
	return &authv3.AttributeContext_HttpRequest{Method: method, Path: path, Headers: map[string]string{}}
}

// framed is the body of a gRPC call with one message.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// hostileInput is one request that an attacker sends again and again.
type hostileInput struct {
	name    string
	request *authv3.AttributeContext_HttpRequest
}

// colliding are names that share a hash of OPA's, made once.
var colliding = sync.OnceValue(func() []string { return testkit.Colliding(9_000, 1<<40) })

// most is the size of a body that limits.max_request_bytes lets through.
const most = 1_000_000

// hostileInputs are requests at a tenant, with a token of its own or a forged
// one, each in the place of an honest request.
func hostileInputs(t *testing.T, issuer *jwttest.Issuer, tenant string, honest *authv3.AttributeContext_HttpRequest) (list []hostileInput) {
	t.Helper()
	stranger := "Bearer " + mint(t, issuer, map[string]any{"sub": "user:666", "tenant_id": tenant})
	add := func(name string, change func(r *authv3.AttributeContext_HttpRequest)) {
		r := proto.CloneOf(honest)
		r.Host, r.Headers["authorization"] = tenant+".example", stranger
		change(r)
		list = append(list, hostileInput{name, r})
	}
	for _, b := range hostileBodies() {
		add(b.name, func(r *authv3.AttributeContext_HttpRequest) {
			r.Headers["content-type"], r.Body, r.RawBody = b.kind, "", []byte(b.text)
		})
	}
	for name, path := range hostilePaths(honest.Path) {
		add(name, func(r *authv3.AttributeContext_HttpRequest) { r.Path = path })
	}
	for name, headers := range hostileHeaders() {
		add(name, func(r *authv3.AttributeContext_HttpRequest) {
			for name, value := range headers {
				r.Headers[name] = value
			}
		})
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(stranger, "Bearer "), ".")
	encode := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"an unknown kid":       encode([]byte(`{"alg":"EdDSA","kid":"forged"}`)) + "." + rest,
		"a deep header":        encode([]byte(`{"alg":"EdDSA","x":`+strings.Repeat("[", 9000)+"}")) + "." + rest,
		"deep claims":          encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode([]byte(`{"sub":`+strings.Repeat(`{"a":`, 2000))) + ".AAAA",
		"a token of 64 KiB":    strings.Repeat("a", 64<<10) + "." + rest,
		"a token all of dots":  strings.Repeat(".", 16<<10),
		"claims of one number": encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode([]byte(`{"exp":1e19000,"iat":`+strings.Repeat("9", 11000)+"}")) + ".AAAA",
	} {
		add(name, func(r *authv3.AttributeContext_HttpRequest) { r.Headers["authorization"] = "Bearer " + token })
	}
	slices.SortFunc(list, func(a, b hostileInput) int { return strings.Compare(a.name, b.name) })
	return list
}

type hostileBody struct{ name, kind, text string }

func hostileBodies() []hostileBody {
	const jsonType, formType, multipartType = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	repeated := func(text string, size int) string { return strings.Repeat(text, size/len(text)) }
	numbered := func(format, end string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String() + end
	}
	return []hostileBody{
		{"brackets in GraphQL", jsonType, `{"query":"{a(x:` + repeated("[", most) + `"}`},
		{"braces in GraphQL", jsonType, `{"query":"` + repeated("{a", most) + `"}`},
		{"fields in GraphQL", jsonType, `{"query":"{` + repeated("a ", most) + `}"}`},
		{"numbers of huge exponents", jsonType, `{"prices":[` + numbered("1e%d,", "1]}", 19_000+1)},
		{"numbers beyond float64", jsonType, `{"prices":[` + repeated("1e19000,", 156<<10) + `1]}`},
		{"large numbers", jsonType, `{"prices":[` + repeated("1e300,", most) + `1]}`},
		{"names that collide", jsonType, `{"` + strings.Join(colliding(), `":1,"`) + `":1}`},
		{"texts that collide", jsonType, `{"texts":["` + strings.Join(colliding(), `","`) + `"]}`},
		{"many names", jsonType, `{` + numbered(`"name%d":1,`, `"z":1}`, 60_000)},
		{"many small objects", jsonType, `{"texts":[` + repeated(`{"a":1},`, most) + `1]}`},
		{"deep lists", jsonType, repeated("[", most)},
		{"deep objects", jsonType, repeated(`{"a":`, most)},
		{"lists of 250 levels", jsonType, "[" + repeated(strings.Repeat("[", 250)+strings.Repeat("]", 250)+",", most) + "1]"},
		{"a long text", jsonType, `{"text":"` + repeated("a", most) + `"}`},
		{"escapes", jsonType, `{"text":"` + repeated(`\u00e9`, most) + `"}`},
		{"one name again and again", jsonType, `{` + repeated(`"a":1,`, most) + `"a":1}`},
		{"a form of many names", formType, numbered("n%d=1&", "", 100_000)},
		{"a form of names that collide", formType, strings.Join(colliding()[:4000], "=1&")},
		{"a form of brackets", formType, repeated("a[b]", most) + "=1"},
		{"many parts", multipartType, numbered("--x\r\nContent-Disposition: form-data; name=\"n%d\"\r\n\r\n1\r\n", "--x--\r\n", 15_000)},
		{"a part of many headers", multipartType, "--x\r\n" + repeated("a: b\r\n", most) + "\r\n\r\n--x--\r\n"},
		{"a message of unknown fields", "application/grpc", string(framed([]byte(repeated("\xf8\x07\x01", most))))},
		{"a message of deep groups", "application/grpc", string(framed([]byte(repeated("\xfb\x07", most))))},
		{"a message of bad text", "application/grpc", string(framed([]byte("\x0a\xc0\x84\x3d" + repeated("\xff", most))))},
	}
}

// hostilePaths begin with an honest one.
func hostilePaths(honest string) map[string]string {
	const size = 8 << 10
	repeated := func(text string) string { return strings.Repeat(text, size/len(text)) }
	return map[string]string{
		"parameters in a path":       honest + repeated(";a=b"),
		"dots in a path":             honest + repeated("."),
		"extensions in a path":       honest + repeated(".a"),
		"spaces in a path":           honest + repeated("%20"),
		"segments with readings":     honest + repeated("/A;b.c.%20"),
		"short segments":             honest + repeated("/a"),
		"letters that fold":          honest + repeated("%E2%84%AA%C5%BF"),
		"dot segments":               honest + repeated("/.;x"),
		"a query of colliding names": honest + "?" + strings.Join(colliding()[:3400], "&"),
		"a query of many names":      honest + "?" + strings.Repeat("a=1&", 14_000),
		"a query of escapes":         honest + "?" + strings.Repeat("%61", 20_000),
	}
}

func hostileHeaders() map[string]map[string]string {
	many, same := map[string]string{}, map[string]string{}
	for i := range 2_000 {
		many[fmt.Sprint("x-name-", i)] = "a value of some length"
	}
	for _, name := range colliding() {
		if name == strings.ToLower(name) { // as Envoy sends all of them
			same[name] = "1"
		}
	}
	return map[string]map[string]string{
		"many headers":                many,
		"names of headers collide":    same,
		"a header of 900 KB":          {"x-text": strings.Repeat("a", 900<<10)},
		"a cookie of 60 KiB":          {"cookie": strings.Repeat("a=b; ", 60<<10/5)},
		"a cookie of separators":      {"cookie": strings.Repeat(";", 60<<10)},
		"values of headers collide":   {"x-forwarded-for": strings.Join(colliding()[:2000], ",")},
		"spellings of x-tenant-id":    {"x_tenant-id": "wild", "X_TENANT_ID": "wild", "connection": strings.Repeat("x-tenant-id,", 5_000)},
		"an accept of 60 KiB":         {"accept": strings.Repeat("text/html;q=0.1,", 60<<10/16)},
		"a forwarded chain of 60 KiB": {"forwarded": strings.Repeat("for=1.2.3.4;", 60<<10/12)},
	}
}
