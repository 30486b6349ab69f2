//go:build !race

// The race detector allocates, and lets pools forget.

package policy_test

import (
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// shapes are policies and what one decision of each may allocate: on a hit
// nothing. The counts of a miss are those of today, so that one more is seen.
var shapes = []struct {
	name, rego string // "": the default policy
	miss       float64
	lookup     jwtverify.Lookup // of a request that was asked about before
}{
	{"default", "", 108, jwtverify.Hit},
	{"constant", `decision := true`, 49, jwtverify.Hit},
	{"method", `decision if input.request.method == "GET"`, 56, jwtverify.Hit},
	{"clock", `import data.usso
decision if { usso.has_scope("read:posts"); [hour, _, _] := time.clock(time.now_ns()); hour >= 0; hour < 24 }`, 92, jwtverify.NoLookup},
	{"members", `decision if { input.request.headers["x-a"]; input.request.query.a[0] == "1"; input.identity.claims.company_id == "c1"; input.route.params.id == "4 2" }`, 132, jwtverify.Hit},
}

func shapeEngine(t testing.TB, rego string, cacheBytes int64) *policy.Engine {
	t.Helper()
	cfg := policy.Config{DecisionCache: cacheBytes}
	if rego != "" {
		cfg.Entrypoint, cfg.Paths = "test/decision", []string{write(t, "test.rego", "package test\n"+rego)}
	}
	e, err := policy.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAllocations(t *testing.T) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			in := getPosts()
			hot, cold := shapeEngine(t, s.rego, 1<<20), shapeEngine(t, s.rego, 0)
			for _, e := range []*policy.Engine{hot, cold} {
				if d := e.Decide(t.Context(), in); !d.Allowed {
					t.Fatalf("%+v", d)
				}
			}
			if n := testing.AllocsPerRun(1000, func() {
				if d := hot.Decide(t.Context(), in); d.Lookup != s.lookup {
					t.Fatal("lookup", d.Lookup)
				}
			}); n > 0 && s.lookup == jwtverify.Hit {
				t.Errorf("a hit allocates %v times", n)
			}
			if n := testing.AllocsPerRun(1000, func() { cold.Decide(t.Context(), in) }); n > s.miss {
				t.Errorf("an evaluation allocates %v times, was %v", n, s.miss)
			}
		})
	}
}

// BenchmarkFresh decides as a server does, on a goroutine of its own.
func BenchmarkFresh(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			e, in := shapeEngine(b, s.rego, 0), getPosts()
			done := make(chan bool)
			b.ReportAllocs()
			for b.Loop() {
				go func() { done <- e.Decide(b.Context(), in).Allowed }()
				if !<-done {
					b.Fatal("denied")
				}
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, s := range shapes {
		for _, c := range []struct {
			name  string
			bytes int64
		}{{"hit", 1 << 20}, {"evaluated", 0}} {
			b.Run(s.name+"/"+c.name, func(b *testing.B) {
				e, in := shapeEngine(b, s.rego, c.bytes), getPosts()
				b.ReportAllocs()
				for b.Loop() {
					if d := e.Decide(b.Context(), in); !d.Allowed {
						b.Fatal(d.Err)
					}
				}
			})
		}
	}
}
