package policy_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// mirror is an engine whose decision shows a part of the input.
func mirror(f testing.TB, member string) *policy.Engine {
	f.Helper()
	name := filepath.Join(f.TempDir(), "mirror.rego")
	text := "package mirror\ndecision := {\"allowed\": false, \"dynamic_metadata\": {\"is\": json.marshal(" + member + ")}}"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	engine, err := policy.New(f.Context(), policy.Config{Entrypoint: "mirror/decision", Paths: []string{name}, Timeout: 10 * time.Second})
	if err != nil {
		f.Fatal(err)
	}
	return engine
}

// FuzzQuery: a query is never refused, and where net/url reads all of it, a
// policy sees what it reads.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "a=1&a=2", "a=%zz&b", "a=1;b=2", "%61=%C3%A9", "a=%ff", "%e8=%b0%b0", "&&=&", "a=b=c", "+=+", strings.Repeat("a&", 99)} {
		f.Add(seed)
	}
	engine := mirror(f, "input.request.query")
	f.Fuzz(func(t *testing.T, query string) {
		if len(query) > 8<<10 {
			return
		}
		d := engine.Decide(t.Context(), &policy.Input{Method: "GET", Host: "h", RawQuery: query})
		text, ok := d.Metadata["is"].(string)
		if !ok {
			if d.Reason != answers.PolicyError || d.Err == nil || !strings.Contains(d.Err.Error(), "bytes") { // a long one is no metadata
				t.Fatalf("no query out of %q: %+v", query, d)
			}
			return
		}
		got := map[string][]string{}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		want, err := url.ParseQuery(query)
		if err != nil || !validUTF8(want) {
			return
		}
		if diff := cmp.Diff(map[string][]string(want), got); diff != "" {
			t.Fatalf("%q, net/url and ours:\n%s", query, diff)
		}
	})
}

func validUTF8(values url.Values) bool {
	for name, list := range values {
		// Each text by itself: the end of one may complete the other.
		if !utf8.ValidString(name) || slices.ContainsFunc(list, func(value string) bool { return !utf8.ValidString(value) }) {
			return false
		}
	}
	return true
}

// FuzzBody: a body is refused as the client's fault, or a policy sees what Go's
// parsers read; it never fails the policy. What test/interop found with other
// parsers is among its seeds.
func FuzzBody(f *testing.F) {
	for _, seed := range [][2]string{
		{"application/json", `{"a": [1, 2.5e3, "x", null, true], "b": {"c": {}}}`},
		{"application/json", `{"a": 1} {"a": 2}`},
		{"application/json", `{"a": 1e999999999}`},
		{"application/json", `{"a": 1e700}`},
		{"application/json; charset=utf-8", "\xff"},
		{"application/x-www-form-urlencoded", "a=1&a=2&b=%zz"},
		{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"},
		{"multipart/form-data", "--x"},
		{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json\r\n\r\n{}\r\n--x--\r\n"},
		{"text/plain", "hello"},
		{"", ""},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	for corpus := testkit.NewCorpus(1); ; {
		body, seed := corpus.Next()
		if !seed {
			break
		}
		f.Add(body.ContentType, body.Bytes)
	}
	engine := mirror(f, "input.parsed_body")
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if len(body) > 8<<10 {
			return
		}
		d := engine.Decide(t.Context(), &policy.Input{Method: "POST", Host: "h", Body: policy.Body{ContentType: contentType, Bytes: body}})
		text, shown := d.Metadata["is"].(string)
		if !shown {
			large := d.Reason == answers.PolicyError && d.Err != nil && strings.Contains(d.Err.Error(), "bytes")
			if d.Reason != answers.InvalidRequest && !large {
				t.Fatalf("%q %q: %+v", contentType, body, d)
			}
			return
		}
		requireSeen(t, testkit.Body{ContentType: contentType, Bytes: body}, text)
		if text == "null" || !strings.Contains(strings.ToLower(contentType), "application/json") {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var want, got any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses %q, which the policy sees as %s: %v", body, text, err)
		}
		plain, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plain, &want); err != nil {
			return // a number that no float64 holds
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q, encoding/json and ours:\n%s", body, diff)
		}
	})
}

// requireSeen fails where a parser of Go's reads a value of the guarded name that
// is not in text, which is what the policy sees.
func requireSeen(t *testing.T, body testkit.Body, text string) {
	t.Helper()
	var parsed any
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	if parsed == nil { // as for a type that is not read
		return
	}
	for _, r := range testkit.GoReadings(body) {
		if unseen := testkit.Unseen(body, parsed, r); unseen != "" {
			t.Errorf("%s\n%s\n%q", unseen, body.ContentType, body.Bytes)
		}
	}
}

// TestBodiesAsGoReadsThem: of a few thousand odd bodies, those that a policy sees
// are what Go's parsers read. test/interop asks the parsers of other languages.
func TestBodiesAsGoReadsThem(t *testing.T) {
	engine := mirror(t, "input.parsed_body")
	corpus, shown := testkit.NewCorpus(7), 0
	for range 5000 {
		body, seed := corpus.Next()
		d := engine.Decide(t.Context(), &policy.Input{Method: "POST", Host: "h", Body: policy.Body{ContentType: body.ContentType, Bytes: body.Bytes}})
		text, ok := d.Metadata["is"].(string)
		if !ok {
			if d.Reason != answers.InvalidRequest {
				t.Errorf("%s, %q: %s (%v)", body.ContentType, body.Bytes, d.Reason, d.Err)
			}
			continue
		}
		if shown++; !seed {
			corpus.Keep(body)
		}
		requireSeen(t, body, text)
	}
	if shown < 500 {
		t.Errorf("%d bodies tell nothing", shown)
	}
}
