//go:build interop || servers

package servers

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// request is one line of testdata/requests.txt.
type request struct {
	line    string   // as it stands in the file
	start   string   // METHOD target
	headers []string // lines, without that of the token
	body    string
	token   string // "editor", "none", "admin", or the workspace of an editor's
}

// requests reads testdata/requests.txt.
func requests(t testing.TB) (all []request) {
	t.Helper()
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if seen[line] {
			t.Errorf("requests.txt has %q twice", line)
		}
		seen[line] = true
		all = append(all, parse(t, line))
	}
	return all
}

func parse(t testing.TB, line string) request {
	t.Helper()
	r := request{line: line, token: "editor"}
	for i, part := range strings.Split(line, " | ") {
		token, isToken := strings.CutPrefix(part, "Token: ")
		body, isBody := strings.CutPrefix(part, "Body: ")
		part, err := strconv.Unquote(`"` + strings.ReplaceAll(part, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("requests.txt: %q: %v", line, err)
		}
		switch {
		case i == 0:
			r.start = part
		case isToken:
			r.token = token
		case isBody:
			r.body = body
		default:
			r.headers = append(r.headers, part)
		}
	}
	return r
}

// workspace is that of the request's token.
func (r request) workspace() string {
	if name, ok := strings.CutPrefix(r.token, "workspace "); ok {
		return name
	}
	return "ws_1"
}

// answer is what came back.
type answer struct {
	cell    string // for the tables
	server  bool   // a server's, and not Envoy's or the service's
	handler string // that the server routed to
	value   any    // that the handler read
}

// send writes the request as it is to an address, with bearer as its token if
// that is not "". Go's client would refuse or mend half of them.
func (r request) send(address, host, bearer string) (answer, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = conn.Close() }() // the answer was read
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return answer{}, err
	}
	lines := append([]string{r.start + " HTTP/1.1", "Host: " + host, "Connection: close"}, r.headers...)
	if bearer != "" {
		lines = append(lines, "Authorization: Bearer "+bearer)
	}
	if r.body != "" {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(r.body)))
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+r.body); err != nil {
		return answer{}, err
	}
	method, _, _ := strings.Cut(r.start, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return answer{cell: "closed"}, nil
	}
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return answer{}, err
	}
	return read(res, body), nil
}

// read reads an answer. Envoy marks those that came from a server.
func read(res *http.Response, body []byte) answer {
	var said struct {
		Handler string
		Value   *any
		Reason  string
	}
	_ = json.Unmarshal(body, &said) // many are no JSON: then it says nothing
	a := answer{server: res.Header.Get("X-Envoy-Upstream-Service-Time") != ""}
	switch {
	case !a.server && said.Reason != "":
		a.cell = strconv.Itoa(res.StatusCode) + " " + said.Reason
	case res.StatusCode == http.StatusOK && said.Handler != "":
		a.handler, a.cell = said.Handler, said.Handler
		if said.Value != nil {
			a.value = *said.Value
			a.cell += " " + show(a.value)
		} else if strings.Contains(string(body), `"value"`) {
			a.cell += " null"
		}
	case res.Header.Get("Location") != "":
		a.cell = fmt.Sprintf("%d to %s", res.StatusCode, pathOf(res.Header.Get("Location")))
	default:
		a.cell = strconv.Itoa(res.StatusCode)
	}
	return a
}

// show writes a value so that it fits a cell: bare where nothing can be mistaken.
func show(v any) string {
	text, isText := v.(string)
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if isText && string(b) == `"`+text+`"` && text != "" && text != "null" && strings.IndexByte("[{ ", text[0]) < 0 {
		return text
	}
	return string(b)
}

// pathOf is a Location without its host: that has a port of the test.
func pathOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return location
	}
	u.Scheme, u.Host = "", ""
	return u.String()
}
