//go:build interop || servers

package servers

import (
	"flag"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/stack"
	"github.com/ussoio/ussoauthz/test/servers/table"
)

var update = flag.Bool("update", false, "rewrite the tables in testdata from what the servers do now")

// judge sends every request to every server: straight, through the shipped
// Envoy and through a bare one. What each routed must be what the tables have,
// and through the service nothing guarded may be reached.
func judge(t *testing.T, servers []*server) {
	for _, s := range servers {
		if s.command != nil {
			s.run(t)
		}
	}
	all := requests(t)
	straight := fill(t, "straight.tsv", all, servers, func(t *testing.T, s *server, r request) answer {
		a, err := r.send(s.address, host(s.name), "")
		if err != nil {
			t.Fatalf("%s: %v", r.line, err)
		}
		return a
	})
	w := start(t, servers, straight.Readings)
	for name, envoy := range map[string]*stack.Stack{"edge": w.edge, "bare": w.bare} {
		fill(t, name+".tsv", all, servers, func(t *testing.T, s *server, r request) answer {
			a := w.through(t, envoy, r, tenant(s.name, false))
			guard(t, r, a)
			return a
		})
		t.Run(name+" with the server's own readings", func(t *testing.T) {
			each(t, servers, all, func(t *testing.T, s *server, r request) {
				guard(t, r, w.through(t, envoy, r, tenant(s.name, true)))
			})
		})
		t.Run(name+" honest", func(t *testing.T) { w.honest(t, envoy, servers) })
	}
}

// each runs test for every server and request, the servers side by side.
func each(t *testing.T, servers []*server, all []request, test func(*testing.T, *server, request)) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			for _, r := range all {
				test(t, s, r)
			}
		})
	}
}

// fill holds a table against what send finds now, or rewrites it.
func fill(t *testing.T, file string, all []request, servers []*server, send func(*testing.T, *server, request) answer) *table.Table {
	t.Helper()
	file = filepath.Join("testdata", file)
	recorded, err := table.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Run(filepath.Base(file), func(t *testing.T) {
		each(t, servers, all, func(t *testing.T, s *server, r request) {
			a, had := send(t, s, r), recorded.Cell(r.line, s.name)
			if !*update && a.cell != had {
				t.Errorf("%s: %s: %q, but %s has %q: if that is right, run the test with -update", s.name, r.line, a.cell, file, had)
			}
			recorded.Set(r.line, s.name, a.cell)
		})
	})
	if *update {
		if err := recorded.Write(file, lines(all)); err != nil {
			t.Fatal(err)
		}
	}
	return recorded
}

func lines(all []request) (lines []string) {
	for _, r := range all {
		lines = append(lines, r.line)
	}
	return lines
}

// guard fails the test where a server routed a request to something that the
// request's token may not have.
func guard(t *testing.T, r request, a answer) {
	t.Helper()
	switch {
	case a.handler == "" || a.handler == "public":
		return // nothing, or what is for everybody
	case r.token == "none":
		t.Errorf("%s reached %s without a token", r.line, a.cell)
	case slices.Contains([]string{"admin", "user", "delete"}, a.handler) && r.token != "admin":
		t.Errorf("%s reached %s without the role admin", r.line, a.cell)
	case slices.Contains([]string{"items", "orders", "hdr", "workspace"}, a.handler) && !only(a.value, r.workspace()):
		t.Errorf("%s reached %s with a token of %s", r.line, a.cell, r.workspace())
	}
}

// only tells whether a value that a server read is the workspace and nothing
// else. nginx hands values on as they were escaped.
func only(value any, workspace string) bool {
	if list, ok := value.([]any); ok {
		return len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool { return !only(v, workspace) })
	}
	text, _ := value.(string)
	decoded, err := url.QueryUnescape(text)
	return text == workspace || err == nil && decoded == workspace
}

// honest sends what must be allowed: a service that refuses everything would
// pass all else.
func (w *world) honest(t *testing.T, envoy *stack.Stack, servers []*server) {
	for _, s := range servers {
		for _, own := range []bool{false, true} {
			for _, tt := range [][2]string{
				{"GET /", "root"},
				{"GET /admin | Token: admin", "admin"},
				{"GET /admin/users/7 | Token: admin", "user 7"},
				{"GET /items?workspace=ws_1", "items ws_1"},
				{"GET /items?a=b&workspace=ws_1&c%5B%5D=d", "items ws_1"},
				{"GET /items?workspace=ws%5F1", "items ws_1"},
				{"GET /items?workspace=ws_2 | Token: workspace ws_2", "items ws_2"},
				{"GET /orders?workspace_id=ws_1&workspace=2", "orders ws_1"},
				{"GET /hdr | X-Org: ws_1", "hdr ws_1"},
				{"GET /hdr | x-org: ws_2 | Token: workspace ws_2", "hdr ws_2"},
				{"GET /w/ws_1", "workspace ws_1"},
				{"GET /w/Ws-2 | Token: workspace Ws-2", "workspace Ws-2"},
				{"GET /files/report", "file report"},
				{"GET /public/index", "public index"},
				{"GET /public/index | Token: none", "public index"},
				{"POST /things/7 | Content-Length: 0", "update 7"},
				{"DELETE /things/7 | Token: admin", "delete 7"},
				{"DELETE /posts/1", "unpublish 1"},
			} {
				want := tt[1]
				if tt[1] == "file report" && s.name == "nginx" {
					want = "file" // a file, not a handler
				}
				if strings.HasPrefix(want, "items") && s.name == "nginx" && strings.Contains(tt[0], "%5F") {
					want = "items ws%5F1" // it does not decode
				}
				if a := w.through(t, envoy, parse(t, tt[0]), tenant(s.name, own)); a.cell != want {
					t.Errorf("%s as %s: %s, want %s", tt[0], tenant(s.name, own), a.cell, want)
				}
			}
		}
	}
}
