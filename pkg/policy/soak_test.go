package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// TestCachedIsUncached asks generated policies about generated requests, with
// and without the cache, and without the analysis. A walk changes one field of
// the request at a time, so that most steps differ from one before in what the
// policy does not read; it goes on over reloads to other policies.
//
// SOAK_DECISIONS is the number of evaluations; `make soak-decisions` sets it.
func TestCachedIsUncached(t *testing.T) {
	evaluations := 50_000
	if raced {
		evaluations = 5_000
	}
	if text := os.Getenv("SOAK_DECISIONS"); text != "" {
		var err error
		if evaluations, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	const steps = 400 // of one policy, each evaluated twice
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var todo, done, hits, refused, policies, cacheable, mutants, caught atomic.Int64
	todo.Store(int64(evaluations))
	var wg sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			w := &walker{rand.New(rand.NewPCG(seed, uint64(worker)))}
			in := w.request()
			for todo.Load() > 0 && !t.Failed() {
				source := w.policy()
				e := compile(t, source)
				if e == nil {
					refused.Add(1)
					continue
				}
				policies.Add(1)
				if !e.Analysis().Cacheable {
					compare(t, w, source, in, 20, e.Uncached(), e.Whole()) // pruning is for all
					continue
				}
				cacheable.Add(1)
				hit, ok := compare(t, w, source, in, steps, e, e.Uncached(), e.Whole())
				if !ok {
					return
				}
				hits.Add(int64(hit))
				done.Add(2 * steps)
				todo.Add(-2 * steps)
				if reads := e.Analysis().Reads; len(reads) > 1 {
					mutants.Add(1)
					mutant := e.Forget(reads[w.IntN(len(reads))], cacheBytes)
					if _, ok := compare(nil, w, source, in, steps, mutant, e.Whole()); !ok {
						caught.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d policies, %d of them cacheable; %d evaluations beside %d decisions of the cached engines, %d of them hits; %d of %d read sets without one path were caught",
		policies.Load(), cacheable.Load(), done.Load(), done.Load()/2, hits.Load(), caught.Load(), mutants.Load())
	if refused.Load() > policies.Load() {
		t.Errorf("%d policies do not compile, and %d do", refused.Load(), policies.Load())
	}
	if hits.Load() < done.Load()/2/5 {
		t.Errorf("only %d hits: the test proves little", hits.Load())
	}
	if caught.Load() < mutants.Load()/8 {
		t.Errorf("%d of %d mutants caught: the test proves little", caught.Load(), mutants.Load())
	}
}

const cacheBytes = 256 << 10 // small enough to be full now and then

func compile(t *testing.T, source string) *policy.Engine {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		t.Error(err)
		return nil
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"test.rego": source, "data.json": soakData} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Error(err)
			return nil
		}
	}
	e, err := policy.New(t.Context(), policy.Config{Entrypoint: "test/decision", Paths: []string{dir}, Timeout: time.Minute, DecisionCache: cacheBytes})
	if err != nil && !strings.Contains(err.Error(), "rego_type_error") { // of two types that never meet
		t.Errorf("%v\n%s", err, source)
	}
	return e
}

// compare walks from in, and asks all engines at each step. t is nil where a
// difference is hoped for.
func compare(t *testing.T, w *walker, source string, in *policy.Input, steps int, first *policy.Engine, others ...*policy.Engine) (hits int, ok bool) {
	for range steps {
		w.step(in)
		got := first.Decide(context.Background(), in)
		if got.Lookup == jwtverify.Hit {
			hits++
		}
		for i, other := range others {
			want := other.Decide(context.Background(), in)
			if same(got, want) {
				continue
			}
			if t != nil {
				request := *in
				request.Attributes, request.Route = nil, nil
				t.Errorf("engine %d: %s\nreads %v\n%s\nrequest %+v, identity %+v", i+1, cmp.Diff(want, got, ignoreLookup), first.Analysis().Reads, source, request, in.Identity)
			}
			return hits, false
		}
	}
	return hits, true
}

var ignoreLookup = cmpopts.IgnoreFields(policy.Decision{}, "Lookup", "Err")

func same(a, b policy.Decision) bool {
	return a.Allowed == b.Allowed && a.Reason == b.Reason && a.Detail == b.Detail && a.Status == b.Status &&
		(a.Err == nil) == (b.Err == nil) && len(a.Headers) == len(b.Headers)
}

const soakData = `{"users": {"alice": {"b": "1"}, "GET": 1, "a": ["b"]}, "list": ["a", 1, null]}`

// walker makes policies and requests that have a chance to meet.
type walker struct{ *rand.Rand }

func (w *walker) of(list ...string) string { return list[w.IntN(len(list))] }

// The compiler knows the types of these by the schema.
var (
	textRefs = []string{
		"input.request.method", "input.request.host", "input.request.path", "input.request.segments[0]", "input.parsed_path[1]",
		"input.request.query.b[0]", "input.parsed_query.a[1]", `input.request.headers["x-a"]`, "input.request.headers.cookie", "input.tenant.id", "input.version.encoding",
	}
	otherRefs = []string{
		"input.request.segments", "input.parsed_path", "input.request.query.a", "input.request.query", "input.tenant", "input.truncated_body",
	}
	untypedRefs = []string{
		"input.identity.sub", "input.identity.roles", "input.identity.roles[0]", "input.identity.scopes", "input.identity.workspace_id", "input.identity.exp",
		"input.identity.claims.a", "input.identity.claims.a.b", "input.identity.claims.a.b.c", "input.identity.claims.l[0]", "input.identity.claims.l", "input.identity.claims", "input.identity",
		"input.route", "input.route.match", "input.route.scopes", "input.route.public", "input.route.params", "input.route.params.id",
		"input.parsed_body", "input.parsed_body.a", "input.parsed_body.a.b", "input.attributes.request.http.method", "input.attributes.source",
	}
)

// ref is any path, and untyped one that may be compared with anything.
func (w *walker) ref() string {
	return w.of(slices.Concat(textRefs, otherRefs, untypedRefs)...)
}

func (w *walker) untyped() string { return w.of(untypedRefs...) }

// pair is a path and a constant of a type that it may have.
func (w *walker) pair() (ref, constant string) {
	if w.IntN(2) == 0 {
		return w.of(textRefs...), w.of(`"a"`, `"1"`, `"GET"`, `"alice"`, `"/a"`)
	}
	return w.untyped(), w.constant()
}

func (w *walker) constant() string {
	return w.of(`"a"`, `"1"`, "1", "null", "true", "false", `"GET"`, `"alice"`, `["a"]`, `"id"`)
}

func (w *walker) expression(i int, helpers bool) string {
	ref, constant := w.pair()
	n := 17
	if helpers {
		n = 22
	}
	switch w.IntN(n) {
	case 0, 1:
		return fmt.Sprintf("%s == %s", ref, constant)
	case 2:
		return fmt.Sprintf("%s != %s", ref, w.untyped())
	case 3:
		return fmt.Sprintf("not %s == %s", ref, constant)
	case 4:
		return fmt.Sprintf("some x%d in %s\n\tx%d == %s", i, w.untyped(), i, constant)
	case 5:
		return fmt.Sprintf("every v%d in object.get({\"k\": %s}, \"k\", []) { v%d != %s }", i, w.untyped(), i, w.untyped())
	case 6:
		return fmt.Sprintf("data.users[%s]", w.ref())
	case 7:
		return fmt.Sprintf("input.identity.claims[%s]", w.ref())
	case 8:
		return fmt.Sprintf("y%d := %s\n\tis_object(y%d)", i, w.untyped(), i)
	case 9:
		return fmt.Sprintf("count([q | some q in [%s]; q != %s]) > 0", w.ref(), w.untyped())
	case 10:
		return fmt.Sprintf("%s in {%s, %s}", ref, constant, w.ref())
	case 11:
		return fmt.Sprintf("walk([%s], [w%d, %s])", w.untyped(), i, constant)
	case 12:
		return fmt.Sprintf("not %s", w.ref())
	case 13:
		return w.of("data.usso.is_authenticated", `data.usso.access("read:posts")`, `data.usso.has_role("editor")`, "data.usso.authz.decision.allowed", "data.usso.authz.decision.reason == \"no_route\"")
	case 14:
		return fmt.Sprintf("startswith(sprintf(\"%%v\", [%s]), %s)", w.ref(), w.of(`"a"`, `"["`, `"{"`, `"1"`))
	case 15:
		return fmt.Sprintf("object.union({\"a\": %s}, {\"b\": 1}).a == %s", ref, constant)
	case 16:
		return fmt.Sprintf("[a%d, b%d] := [%s, %s]\n\ta%d == b%d", i, i, w.ref(), w.untyped(), i, i)
	case 17:
		return fmt.Sprintf("h%d", w.IntN(3))
	case 18:
		return fmt.Sprintf("not h%d", w.IntN(3))
	case 19:
		return fmt.Sprintf("f%d(%s) == %s", w.IntN(2), w.ref(), w.constant())
	case 20:
		return fmt.Sprintf("h0 with data.users.alice as %s", w.ref())
	default:
		return fmt.Sprintf("h1 with input as {\"request\": {\"method\": %s, \"headers\": {}}, \"identity\": null, \"route\": {\"match\": %s}}", w.of(textRefs...), w.ref())
	}
}

func (w *walker) body(helpers bool) string {
	var lines []string
	for i := range 1 + w.IntN(2) {
		lines = append(lines, "\t"+w.expression(i, helpers))
	}
	return strings.Join(lines, "\n")
}

func (w *walker) policy() string {
	var b strings.Builder
	b.WriteString("package test\n\n")
	if w.IntN(4) > 0 {
		b.WriteString("default decision := false\n\n")
	}
	value := func() string {
		return fmt.Sprintf(`{"allowed": %s, "detail": substring(json.marshal(%s), 0, 200)}`, w.of("true", "false"), w.ref())
	}
	fmt.Fprintf(&b, "decision := %s if {\n%s\n}", value(), w.body(true))
	for range w.IntN(3) {
		fmt.Fprintf(&b, " else := %s if {\n%s\n}", value(), w.body(true))
	}
	for i := range 3 {
		for range 1 + w.IntN(2) {
			fmt.Fprintf(&b, "\n\nh%d if {\n%s\n}", i, w.body(false))
		}
	}
	for i := range 2 {
		fmt.Fprintf(&b, "\n\nf%d(x) := %s if x != %s", i, w.untyped(), w.untyped())
	}
	if w.IntN(20) == 0 {
		b.WriteString("\n\nh2 if time.now_ns() < 0")
	}
	return b.String() + "\n"
}

var soakRoutes = []*policy.Route{
	nil,
	policy.NewRoute(policy.RouteFields{Match: "GET /a", Public: true}),
	policy.NewRoute(policy.RouteFields{Match: "a", Scopes: []string{"a"}}),
	policy.NewRoute(policy.RouteFields{Match: "a", AnyScope: []string{"read:posts", "a"}, Access: "read:posts"}),
	policy.NewRoute(policy.RouteFields{Match: "w", Workspace: "{id}"}),
	policy.NewRoute(policy.RouteFields{Match: "w", Workspace: "header:X-A"}),
	policy.NewRoute(policy.RouteFields{Match: "w", Workspace: "query:a"}),
}

func (w *walker) claim() any {
	switch w.IntN(10) {
	case 0:
		return nil
	case 1:
		return json.Number("1")
	case 2:
		return json.Number("1.0")
	case 3:
		return w.IntN(2) == 0
	case 4:
		return map[string]any{"b": "1"}
	case 5:
		return map[string]any{"b": map[string]any{"c": "a"}}
	case 6:
		return []any{"a", json.Number("1")}
	case 7:
		return []any{}
	default:
		return w.of("a", "1", "", "alice")
	}
}

func (w *walker) identity() *jwtverify.Identity {
	if w.IntN(5) == 0 {
		return nil
	}
	id := &jwtverify.Identity{
		Subject: w.of("alice", "a", ""), UserID: w.of("alice", "b"), WorkspaceID: w.of("", "a", "1"), TokenType: "access",
		Roles: [][]string{nil, {"editor"}, {"a", "editor"}}[w.IntN(3)], Scopes: [][]string{nil, {"a"}, {"read:posts"}, {"a", "read:*"}}[w.IntN(4)],
	}
	claims := map[string]any{"jti": w.of("1", "2", "3")}
	if w.IntN(2) == 0 {
		id.Expiry = time.Unix(int64(w.IntN(3)), 0)
	}
	for _, name := range []string{"a", "l", "1", "GET"} {
		if w.IntN(2) == 0 {
			claims[name] = w.claim()
		}
	}
	id.Claims = jwtverify.NewClaims(claims)
	return id
}

func (w *walker) fields(names ...string) []policy.Header {
	var list []policy.Header
	for range w.IntN(4) {
		list = append(list, policy.Header{Name: w.of(names...), Value: w.of("a", "1", "", "a,1", "\xff")})
	}
	return list
}

func (w *walker) bodyOf() policy.Body {
	return policy.Body{
		ContentType:   w.of("application/json", "application/json", "application/x-www-form-urlencoded", "text/plain", ""),
		ContentLength: w.of("", "", "5", "99"), Partial: w.IntN(8) == 0,
		Bytes: []byte(w.of("", `{"a": 1}`, `{"a": {"b": "1"}}`, `"a"`, "a=1", "{", "null", "[1]")),
	}
}

func (w *walker) request() *policy.Input {
	in := &policy.Input{TenantID: "acme", Method: "GET", Host: "a"}
	for range 50 {
		w.step(in)
	}
	return in
}

// step changes one thing.
func (w *walker) step(in *policy.Input) {
	switch w.IntN(13) {
	case 0:
		in.Method = w.of("GET", "POST", "a")
	case 1:
		in.Host = w.of("a", "b", "alice")
	case 2:
		in.Segments = [][]string{nil, {""}, {"a"}, {"a", "1"}, {"1", "a", "b"}, {"a/1"}}[w.IntN(6)]
	case 3:
		in.RawQuery = w.of("", "a=1", "a=1&a=2", "%61=1", "a", "b=a&a=a", "b=%zz", "c=1&a=a", "a=%ff&b=1", "a=2&a=1", "a=a&a=a")
	case 4:
		in.Headers = w.fields("x-a", "x-b", "cookie")
	case 5, 6, 7:
		in.Identity = w.identity()
	case 8:
		in.Route = soakRoutes[w.IntN(len(soakRoutes))]
	case 9:
		in.Params = nil
		if w.IntN(3) > 0 {
			in.Params = []policy.Header{{Name: w.of("id", "x"), Value: w.of("a", "1", "")}}
		}
	case 10:
		in.Body = w.bodyOf()
	case 11:
		in.TenantID = w.of("acme", "a")
		in.Issuer = w.of("i", "j")
	case 12:
		in.Attributes = nil
		if w.IntN(3) > 0 {
			attributes := map[string]any{"request": map[string]any{"http": map[string]any{"method": w.of("GET", "a")}, "time": w.of("1", "2")}}
			if w.IntN(2) == 0 {
				attributes["source"] = w.claim()
			}
			in.Attributes = func() (any, error) { return attributes, nil }
		}
	}
}
