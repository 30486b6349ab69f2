//go:build interop || servers

package servers

import (
	"flag"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
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
	straight := fill(t, "straight.tsv", all, servers, direct)
	w := start(t, servers, straight.Readings)
	for name, envoy := range map[string]*stack.Stack{"edge": w.edge, "bare": w.bare} {
		through := func(t *testing.T, s *server, r request, own bool) answer {
			a := w.through(t, envoy, r, tenant(s.name, own))
			if path, isHead := strings.CutPrefix(r.start, "HEAD "); isHead && a.server && a.cell == "200" {
				r.start = "GET " + path // an answer without a body: what a GET reaches
				got := direct(t, s, r)
				a.handler, a.value = got.handler, got.value
			}
			return a
		}
		fill(t, name+".tsv", all, servers, func(t *testing.T, s *server, r request) answer {
			a := through(t, s, r, false)
			guard(t, s, name, r, a)
			return a
		})
		t.Run(name+" with the server's own readings", func(t *testing.T) {
			each(t, servers, all, func(t *testing.T, s *server, r request) {
				guard(t, s, name, r, through(t, s, r, true))
			})
		})
		t.Run(name+" honest", func(t *testing.T) { w.honest(t, envoy, servers) })
		t.Run(name+" strict", func(t *testing.T) { w.strict(t, envoy, servers, straight) })
	}
}

// direct sends a request to a server itself.
func direct(t *testing.T, s *server, r request) answer {
	a, err := r.send(s.address, host(s.name), "")
	if err != nil {
		t.Fatalf("%s: %v", r.line, err)
	}
	return a
}

// strict sends paths that are other ones to a server with a reading. Where a
// server has none, and the configuration says so, they are what they are.
func (w *world) strict(t *testing.T, envoy *stack.Stack, servers []*server, straight *table.Table) {
	for _, s := range servers {
		if len(straight.Readings(s.name)) > 0 {
			continue
		}
		for _, line := range []string{"GET /Admin", "GET /ADMIN/users/7", "GET /admin.json", "GET /admin.tar.gz", "GET /admin.", "GET /admin%20", "GET /admin;x=1", "GET /w/ws_1.json"} {
			r := parse(t, line)
			if line == "GET /w/ws_1.json" {
				r.token = "workspace ws_1.json"
			}
			if a := w.through(t, envoy, r, tenant(s.name, true)); !a.server || a.cell != straight.Cell(line, s.name) {
				t.Errorf("%s with path_readings: []: %s was %q, want %q, as the server routes it", s.name, line, a.cell, straight.Cell(line, s.name))
			}
		}
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

// beyond lists what the service can't see or does not change, with the servers
// that do it: docs/path-readings.md says how to live with each.
var beyond = []struct {
	envoys, servers []string
	lines           []string
}{
	{ // Rack::MethodOverride reads the method from a form. Who guards methods must guard POST too.
		[]string{"edge", "bare"}, []string{"rails", "sinatra"},
		[]string{"POST /things/7 | Content-Type: application/x-www-form-urlencoded | Body: _method=DELETE"},
	},
	{ // Rack reads a form behind a GET too, and Sinatra puts it before the query.
		[]string{"edge", "bare"}, []string{"sinatra"},
		[]string{"GET /items?workspace=ws_1 | Content-Type: application/x-www-form-urlencoded | Body: workspace=victim"},
	},
	{ // The shipped envoy.yaml removes these headers.
		[]string{"bare"}, []string{"rails", "sinatra"},
		[]string{"POST /things/7 | X-HTTP-Method-Override: DELETE | Content-Length: 0", "POST /things/7 | x-http-method-override: delete | Content-Length: 0"},
	},
	{ // It refuses underscores, which gunicorn takes from a proxy on its own host.
		[]string{"bare"}, []string{"flask", "django"}, []string{"GET /x/admin | SCRIPT_NAME: /x"},
	},
}

func isBeyond(s *server, envoy string, r request) bool {
	for _, b := range beyond {
		if slices.Contains(b.envoys, envoy) && slices.Contains(b.servers, s.name) && slices.Contains(b.lines, r.line) {
			return true
		}
	}
	return false
}

// guard fails the test where a server routed a request to something that the
// request's token may not have, and where it did not though it is known to.
func guard(t *testing.T, s *server, envoy string, r request, a answer) {
	t.Helper()
	switch got, known := reached(r, a), isBeyond(s, envoy, r); {
	case got != "" && !known:
		t.Errorf("%s: %s reached %s %s", s.name, r.line, a.cell, got)
	case got == "" && known:
		t.Errorf("%s: %s reached nothing guarded any more, but %q: take it out of the list", s.name, r.line, a.cell)
	}
}

// reached says in which way an answer is one that the request's token may not
// have; "" is none.
func reached(r request, a answer) string {
	switch {
	case a.handler == "" || a.handler == "public":
		return "" // nothing, or what is for everybody
	case r.token == "none":
		return "without a token"
	case slices.Contains([]string{"admin", "user", "delete"}, a.handler) && r.token != "admin":
		return "without the role admin"
	case slices.Contains([]string{"items", "search", "orders", "hdr", "workspace"}, a.handler) && !only(a.value, r.workspace()):
		return "with a token of " + r.workspace()
	}
	return ""
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
