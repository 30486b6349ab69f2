package extauthz_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func (w *world) check(target, token string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "acme.example", Path: target,
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer " + w.tokens[token])}}},
		}},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(1)}}}},
	}}
}

// The generated client and interceptors work as with any other service.
func TestGeneratedClientAndInterceptors(t *testing.T) {
	w := newWorld(t)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(t, policy.Config{}))
	var seen []string
	var mu sync.Mutex
	conn := serve(t, s, grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%T %s", req, info.FullMethod))
		return next(ctx, req)
	}))
	response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), w.check("/me", "alice"))
	if err != nil || reasonOf(response) != answers.Allowed {
		t.Errorf("%v %v", response, err)
	}
	if want := []string{"*authv3.CheckRequest /envoy.service.auth.v3.Authorization/Check"}; !slices.Equal(seen, want) {
		t.Errorf("the interceptor saw %q", seen)
	}
}

func TestWithoutConfiguration(t *testing.T) {
	response, err := extauthz.NewServer(extauthz.ServerConfig{}).Check(t.Context(), &authv3.CheckRequest{})
	if err != nil || reasonOf(response) != answers.Internal {
		t.Errorf("%v %v", response, err)
	}
	requireSound(t, response)
	var zero extauthz.Server // not usable, and still no allow
	if response, _ := zero.Check(t.Context(), &authv3.CheckRequest{}); response.GetStatus().GetCode() == 0 {
		t.Errorf("the zero value allows: %v", response)
	}
}

// Beyond the bound the answer comes at once, and is no allow.
func TestOverload(t *testing.T) {
	w := newWorld(t)
	cfg := own(t, `decision if { some a in numbers.range(1, 1000000); some b in numbers.range(1, 1000000); a + b == -1 }`)
	cfg.Timeout = 300 * time.Millisecond
	s := extauthz.NewServer(extauthz.ServerConfig{MaxInFlight: 1})
	s.Use(w.authorizer(t, cfg))
	var wg sync.WaitGroup
	reasons := make(chan answers.Reason, 8)
	for range 8 {
		wg.Go(func() {
			response, err := s.Check(t.Context(), w.check("/me", "alice"))
			if err != nil {
				t.Error(err)
			}
			reasons <- reasonOf(response)
		})
	}
	wg.Wait()
	close(reasons)
	count := map[answers.Reason]int{}
	for r := range reasons {
		count[r]++
	}
	if count[answers.Overloaded] == 0 || count[answers.PolicyError] == 0 || len(count) != 2 {
		t.Errorf("answers: %v", count)
	}
	response, err := s.Check(t.Context(), w.check("/me", "alice"))
	if err != nil || reasonOf(response) != answers.PolicyError {
		t.Errorf("afterwards: %v %v", reasonOf(response), err)
	}
}

// Large checks are bounded by their bytes too, whatever becomes of them: what a
// policy holds of a body is many times the body. Small ones are answered beside.
func TestOverloadByBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4)) // for two turns of large requests
	w := newWorld(t)
	cfg := own(t, `decision if not input.attributes.request.http.body
decision if { input.attributes.request.http.body; some a in numbers.range(1, 1000000); some b in numbers.range(1, 1000000); a + b == -1 }`)
	cfg.Timeout = 300 * time.Millisecond
	const size = 256 << 10
	s := extauthz.NewServer(extauthz.ServerConfig{MaxInFlightBytes: 2*size + size/2})
	s.Use(w.authorizer(t, cfg))
	ask := func(body int) answers.Reason {
		request := w.check("/me", "alice")
		request.Attributes.Request.Http.Body = strings.Repeat("a", body)
		response, err := s.Check(t.Context(), request)
		if err != nil {
			t.Error(err)
		}
		return reasonOf(response)
	}
	for range 2 { // the bytes of the first round are given back
		var wg sync.WaitGroup
		reasons := make(chan answers.Reason, 8)
		for range 8 {
			wg.Go(func() { reasons <- ask(size) })
		}
		small := ask(0)
		wg.Wait()
		close(reasons)
		count := map[answers.Reason]int{}
		for r := range reasons {
			count[r]++
		}
		if n := count[answers.PolicyError]; n < 2 || count[answers.Overloaded] != 8-n || count[answers.Overloaded] == 0 || small != answers.Allowed {
			t.Errorf("answers: %v, a small one: %v", count, small)
		}
	}
	if got := ask(3 * size); got != answers.Overloaded {
		t.Errorf("a check beyond the bound by itself: %v", got)
	}
}

// Each check keeps the snapshot that it began with.
func TestUseUnderLoad(t *testing.T) {
	w := newWorld(t)
	yes, no := w.authorizer(t, own(t, `decision := true`)), w.authorizer(t, own(t, `decision := {"allowed": false, "reason": "no"}`))
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(yes)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				response, err := s.Check(context.Background(), w.check("/me", "alice"))
				if r := reasonOf(response); err != nil || r != answers.Allowed && r != "no" {
					t.Errorf("%v %v", r, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		s.Use([]*extauthz.Authorizer{yes, no}[i%2])
	}
	stop()
	wg.Wait()
}

// A policy for opa-envoy-plugin finds its input in either form of the headers.
func TestAttributes(t *testing.T) {
	w := newWorld(t)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(t, own(t, `
import input.attributes.request.http as http

default decision := false

decision if {
	http.method == "GET"
	http.path == "/me?a=1"
	http.host == "acme.example"
	startswith(http.headers.authorization, "Bearer ")
	input.parsed_path == ["me"]
	input.parsed_query.a == ["1"]
	input.attributes.metadataContext.filterMetadata.a.n == 1
}`)))
	check := w.check("/me?a=1", "alice")
	for range 2 {
		response, err := s.Check(t.Context(), check)
		if err != nil || reasonOf(response) != answers.Allowed {
			t.Errorf("%v %v", reasonOf(response), err)
		}
		http := check.GetAttributes().GetRequest().GetHttp()
		http.Headers, http.HeaderMap = map[string]string{"authorization": "Bearer " + w.tokens["alice"]}, nil
	}
}

// FuzzCheck sends any bytes through the codec and the whole road: there is
// always one sound answer, and no allow without a token that we minted but for
// the public route.
func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	s := extauthz.NewServer(extauthz.ServerConfig{})
	s.Use(w.authorizer(f, policy.Config{}))
	seeds := 0
	for _, a := range readAttacks(f) {
		f.Add(a.bytes(f, w, true))
		if !a.Raw {
			f.Add(a.bytes(f, w, false))
		}
		seeds++
	}
	if seeds < 100 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		response := extauthz.CheckBytes(s, b)
		requireSound(t, response)
		if _, err := proto.Marshal(response); err != nil {
			t.Fatalf("an answer that can't be sent: %v", err)
		}
		if reasonOf(response) != answers.Allowed {
			return
		}
		var check authv3.CheckRequest
		if err := proto.Unmarshal(b, &check); err != nil {
			t.Fatalf("allowed what is no check: %v", err)
		}
		sub := response.GetDynamicMetadata().GetFields()["sub"].GetStringValue()
		path := check.GetAttributes().GetRequest().GetHttp().GetPath()
		if sub == "" && path != "/" && (len(path) < 2 || path[:2] != "/?") {
			t.Fatalf("allowed %q for nobody", path)
		}
	})
}

// FuzzPath compares with the rule itself: what is accepted decodes to segments
// that no second decoding, cleaning or splitting changes.
func FuzzPath(f *testing.F) {
	seeds := 0
	for _, a := range readAttacks(f) {
		if a.Target != nil {
			f.Add(*a.Target)
			seeds++
		}
	}
	if seeds < 50 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, target string) {
		segments, err := extauthz.SplitPath(target)
		if err != nil {
			return
		}
		requireCanonical(t, target, segments)
	})
}
