package extauthz_test

import (
	"context"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"google.golang.org/grpc/mem"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// usual is a request as Envoy sends it for a browser behind a proxy.
func (w *world) usual(t testing.TB, target, token string) []byte {
	t.Helper()
	check := w.check(target, token)
	var lines []*corev3.HeaderValue
	for _, h := range [][2]string{
		{":authority", "acme.example"}, {":path", target}, {":method", "GET"}, {":scheme", "https"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}, {"accept", "application/json, text/plain, */*"},
		{"accept-language", "en-US,en;q=0.5"}, {"accept-encoding", "gzip, deflate, br"}, {"authorization", "Bearer " + w.tokens[token]},
		{"referer", "https://acme.example/app"}, {"x-forwarded-for", "203.0.113.7"}, {"x-forwarded-proto", "https"},
		{"x-request-id", "7e8ad2f6-6c1c-4f43-bc86-0f7c2a0e8c4f"}, {"x-envoy-internal", "true"},
	} {
		lines = append(lines, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	http := check.GetAttributes().GetRequest().GetHttp()
	http.HeaderMap, http.Id, http.Protocol, http.Scheme = &corev3.HeaderMap{Headers: lines}, "1234567890", "HTTP/2", "https"
	address := func(ip string) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 40000},
		}}}}
	}
	check.Attributes.Source, check.Attributes.Destination = address("203.0.113.7"), address("10.0.0.5")
	return marshal(t, check)
}

// constant is a policy that costs next to nothing, so that the rest of the road
// is what is measured.
func constant(t testing.TB) policy.Config { return own(t, `decision := true`) }

// Allocations of each stage, and of all of them but the policy's own: to lose
// one here is to lose it for every request of every mesh.
func TestAllocations(t *testing.T) {
	w := newWorld(t)
	check := w.usual(t, "/workspaces/ws_1", "alice")
	m, err := extauthz.ReadCheck(check)
	if err != nil {
		t.Fatal(err)
	}
	a := w.authorizer(t, constant(t))
	answer := a.Authorize(t.Context(), m)
	if !answer.Allowed || len(answer.Headers) != 5 {
		t.Fatalf("%+v", answer)
	}
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(a)
	data := mem.BufferSlice{mem.SliceBuffer(check)}
	ofPolicy := testing.AllocsPerRun(200, extauthz.Deciding(a, m))
	for _, c := range []struct {
		name string
		most float64
		run  func()
	}{
		{"reading: the attributes' closure", 1, extauthz.Reading(check)},
		{"parsing", 0, extauthz.Parsing(m)},
		{"deciding: the road, the route's parameter", 2 + ofPolicy, extauthz.Walking(a, m)},
		{"writing: the answer", 1, func() { extauthz.Encode(answer) }},
		{"all: the check's bytes, the road, the closure, the parameter, the answer", 5 + ofPolicy, func() { extauthz.AnswerBytes(s, data) }},
	} {
		if n := testing.AllocsPerRun(200, c.run); n > c.most {
			t.Errorf("%s: %v allocations, more than %v (of which the policy's are %v)", c.name, n, c.most, ofPolicy)
		}
	}
}

// The whole hot check with the policy that is built in: a known token, a kept
// decision.
func TestHotCheckAllocations(t *testing.T) {
	w := newWorld(t)
	a := w.authorizer(t, policy.Config{DecisionCache: 1 << 20})
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(a)
	for target, most := range map[string]float64{"/me": 5, "/workspaces/ws_1": 6} { // one for the route's parameter
		check := w.usual(t, target, "alice")
		data := mem.BufferSlice{mem.SliceBuffer(check)}
		if got := reasonOf(extauthz.CheckBytes(s, check)); got != answers.Allowed {
			t.Fatal(got)
		}
		if n := testing.AllocsPerRun(200, func() { extauthz.AnswerBytes(s, data) }); n > most {
			t.Errorf("%s: %v allocations, more than %v", target, n, most)
		}
	}
}

func BenchmarkStages(b *testing.B) {
	w := newWorld(b)
	check := w.usual(b, "/me", "alice")
	m, err := extauthz.ReadCheck(check)
	if err != nil {
		b.Fatal(err)
	}
	a := w.authorizer(b, policy.Config{DecisionCache: 1 << 20})
	answer := a.Authorize(context.Background(), m)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(a)
	data := mem.BufferSlice{mem.SliceBuffer(check)}
	tenant := w.directory.Tenants()[0]
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"read", extauthz.Reading(check)},
		{"parse", extauthz.Parsing(m)},
		{"select", func() { _, _ = w.directory.Select(nil, m.Headers, m.Host) }},
		{"credential", func() { _, _ = tenant.Token.Credential(m.Headers) }},
		{"verify", func() { _, _ = tenant.Verifier.Verify(context.Background(), w.tokens["alice"]) }},
		{"match", func() { tenant.Routes.Match(m.Method, []string{"me"}) }},
		{"policy", extauthz.Deciding(a, m)},
		{"authorize", extauthz.Walking(a, m)},
		{"encode", func() { extauthz.Encode(answer) }},
		{"all", func() { extauthz.AnswerBytes(s, data) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.run()
			}
		})
	}
}
