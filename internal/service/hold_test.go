//go:build !race

package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

const (
	holdMemory   = 300 << 20             // more than the memory of the calm service
	holdExtra    = 50 * time.Millisecond // more than twice the calm 99th percentile
	holdInFlight = 4                     // hostile requests at a time
	holdAttempts = 5                     // a busy machine makes a request wait too
)

// holding is a service under load: an honest client and hostile ones, on one
// connection, as Envoy's worker has one for all its clients.
type holding struct {
	conn   *grpc.ClientConn
	honest func(i int) *authv3.AttributeContext_HttpRequest
	sent   atomic.Int64
}

// TestHold: honest requests are answered soon, and memory stays, while hostile
// requests are in flight: for each example of policies/examples, and for a policy
// that calls what is expensive with what a client sends. USSOAUTHZ_HOLD says for
// how long each hostile input is sent by itself; without it they are sent mixed.
func TestHold(t *testing.T) {
	examples, err := filepath.Glob("../../policies/examples/*")
	if err != nil || len(examples) != len(honest)-1 {
		t.Fatalf("%d examples, and %d in the table: %v", len(examples), len(honest)-1, err)
	}
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	t.Cleanup(server.Close)
	length := holdLength(t)
	for _, dir := range append(examples, expensiveCalls) {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			h := hold(t, dir, issuer, server)
			tenant := "acme"
			if dir == expensiveCalls { // a policy like that is the tenant's own affair
				tenant = "wild"
			}
			inputs := hostileInputs(t, issuer, tenant, h.honest(0))
			defer waitForEvaluations(t)
			if length > 0 {
				for _, input := range inputs {
					h.holds(t, []hostileInput{input}, length)
				}
				return
			}
			h.holds(t, inputs, 500*time.Millisecond)
		})
	}
}

// waitForEvaluations: what nobody waits for any more ends soon.
func waitForEvaluations(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("policy.(*Engine).evalBeside")) {
			return
		} else if time.Now().After(limit) {
			t.Fatalf("an evaluation does not end:\n%s", stacks)
		}
	}
}

// holdLength is for how long each input is sent, 0 for all of them mixed.
func holdLength(t *testing.T) time.Duration {
	text := os.Getenv("USSOAUTHZ_HOLD")
	if text == "" {
		return 0
	}
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		t.Fatalf("USSOAUTHZ_HOLD is %q: write a duration like 1s", text)
	}
	return length
}

// hold starts the service with the configuration of an example.
func hold(t *testing.T, dir string, issuer *jwttest.Issuer, server *jwttest.Server) *holding {
	t.Helper()
	cfg, err := config.Parse(holdConfig(t, dir, server))
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	good := mint(t, issuer, map[string]any{"scopes": []string{"read:posts"}, "roles": []string{"moderator"}, "plan": "gold", "tenant_id": "acme"})
	fields := honest[filepath.Base(dir)]
	h := &holding{conn: dial(t, run(t, s).Address(), insecure.NewCredentials()), honest: func(i int) *authv3.AttributeContext_HttpRequest {
		r := fields(i)
		r.Host, r.Headers["authorization"] = "acme.example", "Bearer "+good
		return r
	}}
	for limit := time.Now().Add(10 * time.Second); ; { // until the keys are there
		if got, err := sendCheck(h.conn, h.honest(0)); got == "allowed" {
			return h
		} else if time.Now().After(limit) {
			t.Fatal(got, err)
		}
	}
}

// holdConfig lays out the example as its file says, with tenants beside it.
func holdConfig(t *testing.T, dir string, server *jwttest.Server) (string, []byte, func(string) (string, bool)) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "policies"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if source, err := os.ReadFile(filepath.Join(dir, "shop.proto")); err == nil {
		written := prototest.Write(t, prototest.Set(prototest.Compile(t, string(source))))
		if err := os.Rename(written, filepath.Join(root, "shop.pb")); err != nil {
			t.Fatal(err)
		}
	}
	all := `
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
shutdown: {drain: 0s}
defaults: {audience: app, issuer: "https://sso.example", jwks_url: "` + server.JWKSURL() + `"}
tenants:
  acme: {hosts: [acme.example]}
  wild: {hosts: [wild.example]}
` + string(text)
	if !strings.Contains(all, "\nroutes:") {
		all += "\nroutes:\n  - match: /\n    public: true\n"
	}
	return filepath.Join(root, "ussoauthz.yaml"), []byte(all), os.LookupEnv
}

// load is what was measured of honest requests.
type load struct {
	took   []time.Duration // in order of length
	memory uint64          // the most there was
}

func (l load) p99() time.Duration   { return l.took[len(l.took)*99/100] }
func (l load) worst() time.Duration { return l.took[len(l.took)-1] }

// holds measures honest requests alone and beside hostile ones. A busy machine
// makes a request wait too: of some attempts one has to do.
func (h *holding) holds(t *testing.T, inputs []hostileInput, length time.Duration) {
	t.Helper()
	hostile := make([][]byte, len(inputs))
	for i, input := range inputs {
		hostile[i] = encoded(t, input.request)
	}
	name := inputs[0].name
	if len(inputs) > 1 {
		name = "all"
	}
	for attempt := 1; ; attempt++ {
		debug.FreeOSMemory()
		calm := h.measure(t, nil, length)
		debug.FreeOSMemory()
		bad := h.measure(t, hostile, length)
		grown := int64(bad.memory) - int64(calm.memory)
		t.Logf("%-28s %5d honest requests; p99 %7.2f ms calm, %7.2f beside %d hostile ones, worst %7.2f; %d MiB more",
			name, len(bad.took), milliseconds(calm.p99()), milliseconds(bad.p99()), h.sent.Load(), milliseconds(bad.worst()), grown>>20)
		if err := held(calm, bad); err == nil {
			return
		} else if attempt == holdAttempts {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// held compares a load beside hostile requests with the calm one.
func held(calm, bad load) error {
	if bad.memory > calm.memory+holdMemory {
		return fmt.Errorf("%d MiB of memory, calm %d MiB", bad.memory>>20, calm.memory>>20)
	}
	if most := 2*calm.p99() + holdExtra; bad.worst() > most {
		return fmt.Errorf("an honest request took %v, want %v at most", bad.worst(), most)
	}
	return nil
}

// TestHeld: the comparison notices what it is there for.
func TestHeld(t *testing.T) {
	at := func(memory uint64, took ...time.Duration) load { return load{took, memory} }
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		bad load
		ok  bool
	}{
		"as fast":         {at(60<<20, ms, ms), true},
		"just in time":    {at(350<<20, ms, 60*ms), true},
		"one too late":    {at(60<<20, ms, 61*ms), false},
		"too much memory": {at(351<<20, ms, ms), false},
	} {
		if err := held(at(50<<20, 5*ms), tt.bad); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// measure sends honest requests for a while, beside others, of which each is sent
// at least once.
func (h *holding) measure(t *testing.T, beside [][]byte, length time.Duration) (l load) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var others, honest sync.WaitGroup
	h.sent.Store(0)
	for range min(holdInFlight, holdInFlight*len(beside)) {
		others.Go(func() {
			for i := h.sent.Add(1) - 1; ctx.Err() == nil || i < int64(len(beside)); i = h.sent.Add(1) - 1 {
				if err := sendEncoded(h.conn, beside[i%int64(len(beside))]); err != nil {
					t.Errorf("request %d beside: %v", i, err)
					return
				}
			}
			h.sent.Add(-1)
		})
	}
	done := make(chan struct{})
	took := make([][]time.Duration, 2)
	for c := range took {
		honest.Go(func() { took[c] = h.steady(t, c, done) })
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		l.memory = max(l.memory, systemMemory())
	}
	others.Wait()
	l.memory = max(l.memory, systemMemory())
	close(done)
	honest.Wait()
	if l.took = slices.Concat(took...); len(l.took) == 0 {
		t.Fatal("no honest request was answered")
	}
	slices.Sort(l.took)
	return l
}

// steady is a client with a request every two milliseconds.
func (h *holding) steady(t *testing.T, client int, done <-chan struct{}) (took []time.Duration) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := client; ; i += 2 {
		start := time.Now()
		if got, err := sendCheck(h.conn, h.honest(i)); err != nil || got != "allowed" {
			t.Errorf("honest request %d: %q %v", i, got, err)
			return took
		}
		took = append(took, time.Since(start))
		select {
		case <-done:
			return took
		case <-tick.C:
		}
	}
}

// systemMemory is how much the process has of the system's, the clients' part too.
func systemMemory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

func encoded(t *testing.T, request *authv3.AttributeContext_HttpRequest) []byte {
	t.Helper()
	b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: request},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sendEncoded costs the client as little as it can.
func sendEncoded(conn *grpc.ClientConn, request []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var answer []byte
	if err := conn.Invoke(ctx, authv3.Authorization_Check_FullMethodName, request, &answer, grpc.ForceCodec(asEncoded{})); err != nil {
		return err
	}
	if len(answer) == 0 {
		return errors.New("an empty answer")
	}
	return nil
}

// asEncoded is a codec for messages that are encoded already.
type asEncoded struct{}

func (asEncoded) Name() string                  { return "proto" }
func (asEncoded) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (asEncoded) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = slices.Clone(b)
	return nil
}
