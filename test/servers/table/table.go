// Package table reads and writes what real servers made of the requests of
// testdata/requests.txt: a line for each request, a column for each server.
package table

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Table holds a cell for each request and server. The zero value is empty.
type Table struct {
	Servers []string // sorted
	cells   map[[2]string]string
}

// Read reads a table; a file that is not there is an empty one.
func Read(file string) (*Table, error) {
	t := &Table{}
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a table: %w", err)
	}
	var servers []string
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		cells := strings.Split(line, "\t")
		if i == 0 {
			servers = cells[1:]
			continue
		}
		if len(cells) != len(servers)+1 {
			return nil, fmt.Errorf("%s:%d: %d columns, want %d", file, i+1, len(cells), len(servers)+1)
		}
		for j, cell := range cells[1:] {
			t.Set(cells[0], servers[j], cell)
		}
	}
	return t, nil
}

// Write writes the table, sorted by server, for the requests in their order.
// Those that requests lacks are left out.
func (t *Table) Write(file string, requests []string) error {
	var b strings.Builder
	b.WriteString(strings.Join(append([]string{"request"}, t.Servers...), "\t") + "\n")
	for _, request := range requests {
		b.WriteString(request)
		for _, server := range t.Servers {
			b.WriteString("\t" + t.Cell(request, server))
		}
		b.WriteString("\n")
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("writing a table: %w", err)
	}
	return nil
}

// Set sets a cell.
func (t *Table) Set(request, server, cell string) {
	if t.cells == nil {
		t.cells = map[[2]string]string{}
	}
	if at, found := slices.BinarySearch(t.Servers, server); !found {
		t.Servers = slices.Insert(t.Servers, at, server)
	}
	t.cells[[2]string{request, server}] = cell
}

// Cell returns a cell: what the server made of the request. "" is unknown.
func (t *Table) Cell(request, server string) string { return t.cells[[2]string{request, server}] }

// handler is the handler of a cell, "" for an answer without one.
func handler(cell string) string {
	name, _, _ := strings.Cut(cell, " ")
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return ""
	}
	return name
}

// evidence holds, for each reading of path_readings, requests that a server
// routes like the other one only if it does that reading.
var evidence = []struct {
	reading string
	pairs   [][2]string
}{
	{"slash", [][2]string{{"GET /items/?workspace=ws_1", "GET /items?workspace=ws_1"}, {"GET /admin/users/7/", "GET /admin/users/7"}}},
	{"parameters", [][2]string{{"GET /admin;x=1", "GET /admin"}, {"GET /admin;x=1/users/7", "GET /admin/users/7"}}},
	{"case", [][2]string{{"GET /Admin", "GET /admin"}, {"GET /ADMIN/users/7", "GET /admin/users/7"}}},
	{"extension", [][2]string{{"GET /admin.json", "GET /admin"}, {"GET /admin.html", "GET /admin"}}},
	{"trailing", [][2]string{{"GET /admin.", "GET /admin"}, {"GET /admin%20", "GET /admin"}}},
}

// Names are the readings of path_readings, in the order of the documents.
func Names() (names []string) {
	for _, e := range evidence {
		names = append(names, e.reading)
	}
	return names
}

// Readings returns which readings a server does, by what it routed when
// nothing stood before it. It panics where the table lacks a request of the
// evidence.
func (t *Table) Readings(server string) []string {
	done := []string{}
	for _, e := range evidence {
		if slices.ContainsFunc(e.pairs, func(p [2]string) bool { return t.alike(server, p[0], p[1]) }) {
			done = append(done, e.reading)
		}
	}
	return done
}

func (t *Table) alike(server, odd, plain string) bool {
	a, b := t.Cell(odd, server), t.Cell(plain, server)
	if a == "" || handler(b) == "" {
		panic(fmt.Sprintf("straight.tsv: %s: %q is %q and %q is %q: no evidence", server, odd, a, plain, b))
	}
	return handler(a) == handler(b)
}

// titles are the servers in words, in the order of the documents.
var titles = []struct{ server, title string }{
	{"express4", "Express 4"},
	{"express5", "Express 5"},
	{"fastify", "Fastify 5"},
	{"fastify-loose", "Fastify 5 with `ignoreTrailingSlash`, `caseSensitive: false`, `useSemicolonDelimiter`"},
	{"servemux", "Go's `http.ServeMux`"},
	{"nginx", "nginx 1.22, its own locations"},
	{"flask", "Flask 3, gunicorn"},
	{"django", "Django 5.2, gunicorn"},
	{"starlette", "Starlette 1 (FastAPI's router), uvicorn"},
	{"spring3", "Spring Boot 3 (Tomcat 10)"},
	{"spring27", "Spring Boot 2.7 (Tomcat 9)"},
	{"spring27-ant", "Spring MVC with AntPathMatcher and suffix patterns, the default before Boot 2"},
	{"rails", "Rails 6.1, puma"},
	{"sinatra", "Sinatra 3, puma"},
	{"php", "PHP 8.2, a front controller"},
}

// Markdown is the table of which server does which reading. It panics where a
// server has no title, or a title no server.
func (t *Table) Markdown() string {
	if len(titles) != len(t.Servers) {
		panic(fmt.Sprintf("%d titles for %d servers", len(titles), len(t.Servers)))
	}
	var b strings.Builder
	b.WriteString("| server | `path_readings` behind it |\n|---|---|\n")
	for _, s := range titles {
		fmt.Fprintf(&b, "| %s | `[%s]` |\n", s.title, strings.Join(t.Readings(s.server), ", "))
	}
	return b.String()
}
