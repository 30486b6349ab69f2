package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

// Echo is the answer of /echo, and of every path for a request with the header
// X-Echo: what reached the application, to be compared with what was sent.
type Echo struct {
	Method  string              `json:"method"`
	Target  string              `json:"target"` // path and query as they stood in the request line
	Path    string              `json:"path"`   // decoded
	Query   string              `json:"query"`
	Host    string              `json:"host"`
	Proto   string              `json:"proto"`
	Headers map[string][]string `json:"headers"` // by lower-case name, one value for each line
	Body    string              `json:"body,omitempty"`
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the body ended early")
		return
	}
	headers := map[string][]string{}
	for name, values := range r.Header {
		lower := strings.ToLower(name)
		headers[lower] = append(headers[lower], values...)
	}
	reply(w, http.StatusOK, Echo{
		Method: r.Method, Target: r.RequestURI, Path: r.URL.Path, Query: r.URL.RawQuery,
		Host: r.Host, Proto: r.Proto, Headers: headers, Body: string(body),
	})
}
