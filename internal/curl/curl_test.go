package curl_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/curl"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

func read(name string) ([]byte, error) {
	if name != "body.json" {
		return nil, errors.New("no such file")
	}
	return []byte("{\n}"), nil
}

func fields(pairs ...string) []httpfield.Field {
	var list []httpfield.Field
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, httpfield.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

// The files in testdata are command lines as browsers and people write them.
func TestFiles(t *testing.T) {
	want := map[string]*curl.Request{
		"chrome.sh": {
			Method: "POST", Scheme: "https", Host: "api.acme.example", Target: "/posts?q=caf%C3%A9&tags[]=a",
			Headers: fields("accept", "application/json, text/plain, */*", "accept-language", "en-GB,en;q=0.9", "authorization", "Bearer a.b.c",
				"content-type", "application/json", "origin", "https://app.acme.example", "sec-ch-ua", `"Chromium";v="141", "Not?A_Brand";v="8"`,
				"user-agent", "Mozilla/5.0 (X11; Linux x86_64)", "Cookie", "access_token=a.b.c; theme=dark", "Content-Length", "43"),
			Body: []byte(`{"title":"It's ! here","body":"line\nline"}`),
		},
		"firefox.sh": {
			Method: "GET", Scheme: "https", Host: "api.acme.example", Target: "/me",
			Headers: fields("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0)", "Accept", "*/*", "Accept-Encoding", "gzip, deflate, br, zstd",
				"Connection", "keep-alive", "Cookie", "access_token=a.b.c", "Sec-Fetch-Mode", "cors"),
		},
		"safari.sh": {
			Method: "DELETE", Scheme: "https", Host: "api.acme.example", Target: "/posts/42",
			Headers: fields("Accept", "*/*", "Authorization", "Bearer a.b.c", "User-Agent", "Mozilla/5.0 (Macintosh)", "Content-Length", "0"),
		},
		"hand.sh": {
			Method: "PUT", Scheme: "http", Host: "127.0.0.1:8080", Target: "/b/c?x=1",
			Headers: fields("X-Tenant-ID", "acme", "X-Empty", "", "User-Agent", "curl", "Content-Type", "application/json", "Content-Length", "8"),
			Body:    []byte(`{"a": 1}`),
		},
		"form.sh": {
			Method: "GET", Scheme: "http", Host: "localhost", Target: "/search?p=2&q=1&name=a%20b%26c",
			Headers: fields("User-Agent", "curl", "Authorization", "Basic dXNlcjpzZWNyZXQ=", "Accept", "*/*"),
		},
	}
	files, err := filepath.Glob("testdata/*.sh")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d files for %d expectations: %v", len(files), len(want), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			line, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{string(line), strings.ReplaceAll(string(line), "\n", "\r\n")} {
				got, err := curl.ParseLine(text, read)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want[filepath.Base(file)], got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		line, method, host, target, body string
	}{
		{"curl acme.example", "GET", "acme.example", "/", ""},
		{"/usr/bin/curl -I https://acme.example?x", "HEAD", "acme.example", "/?x", ""},
		{"curl -H 'Host: other.example' https://acme.example/", "GET", "other.example", "/", ""},
		{"curl -d a=1 -d b=2 https://acme.example/", "POST", "acme.example", "/", "a=1&b=2"},
		{"curl -d @body.json https://acme.example/", "POST", "acme.example", "/", "{}"},
		{"curl --data-binary @body.json https://acme.example/", "POST", "acme.example", "/", "{\n}"},
		{"curl --data-raw @body.json https://acme.example/", "POST", "acme.example", "/", "@body.json"},
		{"curl --json @body.json -X PATCH https://acme.example/", "PATCH", "acme.example", "/", "{\n}"},
		{"curl -g 'https://[::1]:8443/a?b={c}'", "GET", "[::1]:8443", "/a?b={c}", ""},
		{"curl 'http://[::1]/'", "GET", "[::1]", "/", ""},
		{"curl --path-as-is https://acme.example/a/../b", "GET", "acme.example", "/a/../b", ""},
		{"curl https://acme.example/../..", "GET", "acme.example", "/", ""},
		{"curl https://acme.example/a//b/%2e%2e/", "GET", "acme.example", "/a//b/%2e%2e/", ""},
		{"curl -- https://acme.example/", "GET", "acme.example", "/", ""},
		{"curl https://user:p%40ss@acme.example/", "GET", "acme.example", "/", ""},
	} {
		t.Run(tt.line, func(t *testing.T) {
			r, err := curl.ParseLine(tt.line, read)
			if err != nil {
				t.Fatal(err)
			}
			if r.Method != tt.method || r.Host != tt.host || r.Target != tt.target || string(r.Body) != tt.body {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"", "does not begin with curl"},
		{"wget https://acme.example/", "does not begin with curl"},
		{"curl", "has no URL"},
		{"curl ''", "the URL is empty"},
		{"curl -F file=@x https://acme.example/", `the curl flag "-F" is not known here`},
		{"curl -sF file=@x https://acme.example/", `the curl flag "-F" is not known here`},
		{"curl --header=x https://acme.example/", `the curl flag "--header=x" is not known here`},
		{"curl https://acme.example/ --next https://acme.example/", `the curl flag "--next"`},
		{"curl https://acme.example/ https://globex.example/", "two URLs"},
		{"curl -H", "the curl flag -H has no value"},
		{"curl -H nothing https://acme.example/", `"nothing" is no header`},
		{"curl -H @file https://acme.example/", "headers from a file"},
		{"curl -b jar https://acme.example/", "a cookie jar is not read"},
		{"curl -d @- https://acme.example/", "standard input is not read"},
		{"curl -d @gone https://acme.example/", "the curl flag -d: no such file"},
		{"curl --data-urlencode name@file https://acme.example/", "not read from files"},
		{"curl -I -d x https://acme.example/", "either a HEAD request or data"},
		{"curl 'https://acme.example/{a,b}'", "curl makes several URLs"},
		{"curl 'https://acme.example/[1-3]'", "curl makes several URLs"},
		{"curl 'https://acme.example/a b'", "a blank"},
		{"curl ftp://acme.example/", "neither http nor https"},
		{"curl https:///posts", "the URL has no host"},
		{"curl https://acme.example/ | jq", `an unquoted '|'`},
		{"curl https://acme.example/ && rm x", `an unquoted '&'`},
		{"curl https://acme.example/?a=1&b=2", `an unquoted '&'`},
		{"curl https://acme.example/\ncurl x", `an unquoted '\n'`},
		{`curl -H "Authorization: Bearer $TOKEN" https://acme.example/`, `'$' inside "`},
		{"curl -H Authorization:$TOKEN https://acme.example/", "write the value"},
		{"curl `id`", "an unquoted '`'"},
		{"curl 'https://acme.example/", "a ' is not closed"},
		{`curl "https://acme.example/`, `a " is not closed`},
		{`curl $'a`, "a $' is not closed"},
		{`curl $'\q'`, `\q is no escape`},
		{`curl $'\x00'`, "is missing, or 0"},
		{`curl $'\ud800'`, "is no character"},
		{"curl \\", "escapes nothing"},
		{"curl \xff", "is not text"},
		{"curl # x", "begins a comment"},
		{strings.Repeat("x", 1<<20+1), "more than"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			r, err := curl.ParseLine(tt.line, read)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{` a  'b c'"d e"\ f	g `, []string{"a", "b cd e f", "g"}},
		{`'' "" a`, []string{"", "", "a"}},
		{"a\\\n b\\\nc", []string{"a", "bc"}},
		{`"\"\\\$\x" 'a\b'`, []string{`"\$\x`, `a\b`}},
		{`$'\x41\101\u00e9\U0001F600\n\'\\' é\é`, []string{"AAé😀\n'\\", "éé"}},
		{"a#b ?x=[1]", []string{"a#b", "?x=[1]"}},
	} {
		got, err := curl.Words(tt.line)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, %v; want %q", tt.line, got, err, tt.want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	files, err := filepath.Glob("testdata/*.sh")
	if err != nil || len(files) < 5 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(line))
	}
	for _, flags := range []string{"-sSXPOST", "--json @body.json", "-Gd $'\\x41'", "-b a=b -- ", "--data-urlencode =a%20b", "-H a\\;"} {
		f.Add("curl " + flags + " https://user@acme.example:8443/a/../b?c=\\[d\\]#e")
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := curl.Words(line)
		if err == nil {
			quoted := make([]string, len(words))
			for i, w := range words {
				quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
			}
			again, err := curl.Words(strings.Join(quoted, " "))
			if valid := slices.IndexFunc(words, func(w string) bool { return strings.ToValidUTF8(w, "") != w || strings.Contains(w, "\r\n") }) < 0; valid && (err != nil || !slices.Equal(again, words)) {
				t.Errorf("%q is read as %q when quoted, %v", words, again, err)
			}
		}
		r, err := curl.ParseLine(line, read)
		if (r == nil) == (err == nil) {
			t.Fatal("neither a request nor an error, or both")
		}
		if r != nil && (r.Method == "" || r.Host == "" || !strings.HasPrefix(r.Target, "/")) {
			t.Errorf("%+v", r)
		}
	})
}
