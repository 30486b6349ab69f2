package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// decideBody decides about a body by a policy that reads it.
func decideBody(t *testing.T, e *policy.Engine, contentType, body string) policy.Decision {
	t.Helper()
	in := getPosts()
	in.Body = policy.Body{ContentType: contentType, Bytes: []byte(body)}
	return e.Decide(t.Context(), in)
}

const (
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data; boundary=x"
)

// part writes a part with the header lines and the content.
func part(header, content string) string {
	return "--x\r\n" + header + "\r\n\r\n" + content + "\r\n"
}

func field(name, content string) string {
	return part(fmt.Sprintf("Content-Disposition: form-data; name=%q", name), content)
}

// TestBodiesThatServersReadDifferently: none of them is shown to a policy.
func TestBodiesThatServersReadDifferently(t *testing.T) {
	disposition := func(rest string) string {
		return part("Content-Disposition: form-data; "+rest, "1") + "--x--"
	}
	wide := `{"a0":1`
	for i := range 40 {
		wide += fmt.Sprintf(`,"aB%d":1`, i)
	}
	reader, unread := bodyReader(t), stranger(t)
	for _, tt := range []struct{ name, kind, body string }{
		{"a name twice", "application/json", `{"role": "user", "role": "admin"}`},
		{"a name twice, with equal values", "application/json", `{"role": "user", "role": "user"}`},
		{"a name twice, one escaped", "application/json", `{"role": "user", "r\u006fle": "admin"}`},
		{"a name twice, below", "application/json", `{"a": [{"b": {"role": "user", "role": "admin"}}]}`},
		{"an empty name twice", "application/json", `{"": 1, "": 2}`},
		{"a name twice, far apart", "application/json", wide + `,"a0":2}`},
		{"names that differ by case", "application/json", `{"role": "user", "Role": "admin"}`},
		{"names that differ by case, far apart", "application/json", wide + `,"A0":2}`},
		{"names that differ by case, in Unicode", "application/json", `{"is": 1, "iſ": 2}`},
		{"NUL in a name", "application/json", `{"role\u0000": "admin"}`},
		{"half a surrogate pair", "application/json", `{"a": "\ud800"}`},
		{"half a surrogate pair in a name", "application/json", `{"\udc00": 1}`},
		{"bytes that are no UTF-8", "application/json", "{\"a\": \"\xff\"}"},
		{"bytes that are no UTF-8 in a name", "application/json", "{\"\xc0\xaf\": 1}"},
		{"a byte order mark", "application/json", "\xef\xbb\xbf{}"},
		{"UTF-16", "application/json", "\xff\xfe{\x00}\x00"},
		{"UTF-16 without a mark", "application/json", "{\x00}\x00"},
		{"a comment", "application/json", `{"a": 1 /* , "b": 2 */}`},
		{"a comma at the end", "application/json", `{"a": 1,}`},
		{"single quotes", "application/json", `{'a': 1}`},
		{"NaN", "application/json", `{"a": NaN}`},
		{"a number with a plus", "application/json", `{"a": +1}`},
		{"a number with a zero before it", "application/json", `{"a": 01}`},
		{"a control character", "application/json", "{\"a\": \"\n\"}"},
		{"two documents", "application/json", `{} {}`},
		{"garbage at the end", "application/json", `{}x`},
		{"a name that is none", "application/json", `{1: 2}`},
		{"cut", "application/json", `{"a": [1, 2`},
		{"nothing but space", "application/json", "  "},
		{"more levels than may be", "application/json", strings.Repeat("[", 257) + strings.Repeat("]", 257)},
		{"brackets alone", "application/json", strings.Repeat("[", 1<<20)},
		{"objects alone", "application/json", strings.Repeat(`{"a":`, 200_000)},
		{"UTF-7", "application/json; charset=utf-7", `{"a": "+ACIALAAiAHIAbwBsAGUAIgA6ACIAYQBkAG0AaQBu-"}`},
		{"UTF-16 by its charset", `application/json; charset="UTF-16"`, `{}`},
		{"two charsets", "application/json; charset=utf-8; charset=ibm037", `{}`},
		{"a charset in continuations", "application/json; charset*0=ibm; charset*1=037", `{}`},
		{"Latin-1 beyond ASCII", "application/json; charset=iso-8859-1", `{"a": "é"}`},
		{"a form's Latin-1 beyond ASCII", formType + "; charset=iso-8859-1", "a=%E9"},
		{"a type that is two", "application/json, " + formType, `{"a&role=admin&b": 1}`},
		{"a type in another's parameter", formType + "; a=application/json", `{"a&role=admin&b": 1}`},

		{"a bad escape", formType, "a=%zz"},
		{"a bad escape in a name", formType, "%u0061=1"},
		{"a semicolon", formType, "a=1;role=admin"},
		{"text that is no UTF-8", formType, "a=%ff"},
		{"a name that is no UTF-8", formType, "%ff=a"},
		{"half a character and the escape of its other half", formType, "a=\xc3%A9"},
		{"a name that may end later", formType, "a[role=]=admin"},
		{"a name that may end later, escaped", formType, "a[role=%5d=admin"},
		{"a byte order mark before a form", formType, "\xef\xbb\xbfrole=admin"},
		{"a question mark before a form", formType, "?role=admin"},
		{"NUL in a form's name", formType, "role%00=admin"},
		{"a space before a name", formType, "+role=admin"},
		{"no name", formType, "=admin"},
		{"brackets beside none", formType, "role=user&role[]=admin"},
		{"brackets beside none, escaped", formType, "role%5B%5D=admin&role=user"},
		{"brackets around a name", formType, "role=user&[role]=admin"},
		{"an index beside none", formType, "role=user&role[x]=admin"},
		{"an index beside brackets", formType, "role[]=user&role[0]=admin"},
		{"brackets below", formType, "a[role]=user&a[role][]=admin"},
		{"a bracket at the end of a name", formType, "role=user&role]=admin"},
		{"a bracket at the beginning of a name", formType, "role=user&[role=admin"},
		{"a bracket that is not closed", formType, "user_role=user&user[role=admin"},
		{"a dot for the sign of PHP", formType, "user_role=user&user.role=admin"},
		{"a space for the sign of PHP", formType, "user_role=user&user+role=admin"},
		{"a dot for the sign of PHP, before brackets", formType, "a_b[role]=user&a.b[role]=admin"},
		{"a dot for brackets", formType, "user[role]=user&user.role=admin"},
		{"a dot for brackets, in a list", formType, "items[0][role]=user&items[0].role=admin"},
		{"names of a form that differ by case", formType, "role=user&Role=admin"},
		{"its own charset", formType, "_charset_=utf-7&a=b"},

		{"no end", multipartType, field("a", "1")},
		{"no part", multipartType, "x"},
		{"something before the first part", multipartType, "preamble\r\n" + field("a", "1") + "--x--"},
		{"a part before the first part", multipartType, "\r\n" + field("a", "1") + "--x--"},
		{"something after the last part", multipartType, field("a", "1") + "--x--\r\n" + field("a", "2") + "--x--"},
		{"the boundary in a part", multipartType, field("a", "1\n--x") + "--x--"},
		{"spaces after the boundary", multipartType, "--x \r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--"},
		{"a longer boundary", multipartType, field("a", "1\r\n--xx") + "--x--"},
		{"line feeds alone", multipartType, "--x\nContent-Disposition: form-data; name=\"a\"\n\n1\n--x--\n"},
		{"a part without a header", multipartType, "--x\r\n\r\n1\r\n--x--"},
		{"a part without a disposition", multipartType, part("Content-Type: text/plain", "1") + "--x--"},
		{"two dispositions", multipartType, part("Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"role\"", "1") + "--x--"},
		{"a folded header", multipartType, part("Content-Disposition: form-data;\r\n name=\"a\"", "1") + "--x--"},
		{"a header with a line feed", multipartType, part("X: a\nContent-Disposition: form-data; name=\"role\"\r\nContent-Disposition: form-data; name=\"a\"", "1") + "--x--"},
		{"a header that is none", multipartType, part("Content-Disposition : form-data; name=\"a\"", "1") + "--x--"},
		{"no name in a part", multipartType, disposition(`filename="a"`)},
		{"an empty name", multipartType, disposition(`name=""`)},
		{"a name twice in a part", multipartType, disposition(`name="a"; name="role"`)},
		{"a name in continuations", multipartType, disposition(`name*0="ro"; name*1="le"`)},
		{"an extended name", multipartType, disposition(`name="a"; name*=utf-8''role`)},
		{"a file name twice", multipartType, disposition(`name="a"; filename="a"; filename="b"`)},
		{"an escape in a name", multipartType, disposition(`name="a\"; name=\"role"`)},
		{"an encoded word", multipartType, disposition(`name="=?utf-8?q?role?="`)},
		{"an open quote", multipartType, disposition(`name="a`)},
		{"text after a quote", multipartType, disposition(`name="a"role`)},
		{"a space before the sign", multipartType, disposition(`name ="a"`)},
		{"an attachment", multipartType, part(`Content-Disposition: attachment; name="a"`, "1") + "--x--"},
		{"base64", multipartType, part("Content-Disposition: form-data; name=\"role\"\r\nContent-Transfer-Encoding: base64", "YWRtaW4=") + "--x--"},
		{"quoted-printable", multipartType, part("Content-Disposition: form-data; name=\"role\"\r\nContent-Transfer-Encoding: quoted-printable", "=61dmin") + "--x--"},
		{"a part's charset", multipartType, part("Content-Disposition: form-data; name=\"role\"\r\nContent-Type: text/plain; charset=utf-7", "+AGE-dmin") + "--x--"},
		{"parts in a part", multipartType, part("Content-Disposition: form-data; name=\"role\"\r\nContent-Type: multipart/mixed; boundary=y", "--y--") + "--x--"},
		{"a part that is no UTF-8", multipartType, field("a", "\xff") + "--x--"},
		{"a part that is no JSON", multipartType, part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json", "{") + "--x--"},
		{"a name twice in a JSON part", multipartType, part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json", `{"a":1,"a":2}`) + "--x--"},
		{"the parts' own charset", multipartType, field("_charset_", "utf-7") + "--x--"},
		{"brackets in a part", multipartType, field("role", "user") + field("role[]", "admin") + "--x--"},
		{"two boundaries", "multipart/form-data; boundary=x; boundary=y", field("a", "1") + "--x--"},
		{"a boundary in another parameter", `multipart/form-data; a="boundary=x"`, field("a", "1") + "--x--"},
		{"a boundary in continuations", "multipart/form-data; boundary*0=x", field("a", "1") + "--x--"},
		{"a boundary with an escape", `multipart/form-data; boundary="\x"`, field("a", "1") + "--x--"},
		{"a boundary with a space", `multipart/form-data; boundary="x "`, field("a", "1") + "--x--"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := decideBody(t, reader, tt.kind, tt.body); d.Reason != answers.InvalidRequest {
				t.Errorf("%s (%v), metadata %v", d.Reason, d.Err, d.Metadata)
			}
			// Whoever does not read the body does not mind.
			if d := decideBody(t, unread, tt.kind, tt.body); !d.Allowed {
				t.Errorf("unread: %s (%v)", d.Reason, d.Err)
			}
		})
	}
}

func bodyReader(t *testing.T) *policy.Engine {
	return engine(t, `decision := {"allowed": input.truncated_body == false, "dynamic_metadata": {"body": json.marshal(input.parsed_body)}}`)
}

func stranger(t *testing.T) *policy.Engine { return engine(t, `decision if input.request.method`) }

// TestBodiesOfHonestClients: what browsers and libraries write is read.
func TestBodiesOfHonestClients(t *testing.T) {
	reader := bodyReader(t)
	for _, tt := range []struct{ name, kind, body, want string }{
		{"names in camel case", "application/json", `{"userName": 1, "userMail": 2, "é": 3, "É2": 4}`, `{"userMail":2,"userName":1,"É2":4,"é":3}`},
		{"one name in several objects", "application/json", `[{"a": 1}, {"a": 2}, {"A": {"a": "\u0000\ud83d\ude00"}}]`, `[{"a":1},{"a":2},{"A":{"a":"\u0000😀"}}]`},
		{"as many levels as may be", "application/json", strings.Repeat("[", 256) + strings.Repeat("]", 256), strings.Repeat("[", 256) + strings.Repeat("]", 256)},
		{"a scalar", "application/json", ` null `, `null`},
		{"Latin-1 that is ASCII", "application/json;charset=ISO-8859-1", `{"a": true}`, `{"a":true}`},
		{"a quoted charset", `application/json; charset="utf-8"`, `{"a": false}`, `{"a":false}`},
		{"another JSON", "application/json; odata=verbose", `{"a": -1.50e2}`, `{"a":-1.50e2}`},
		{"a form of a browser", formType, "a=1&b=%C3%A9+%3B&_charset_=UTF-8&a=&&c", `{"_charset_":["UTF-8"],"a":["1",""],"b":["é ;"],"c":[""]}`},
		{"a nested form", formType, "user[name]=a&user[mail]=b&ids[]=1&ids[]=2&m[0][x]=1&m[0][y]=2&m[1][x]=3&e[", `{"e[":[""],"ids[]":["1","2"],"m[0][x]":["1"],"m[0][y]":["2"],"m[1][x]":["3"],"user[mail]":["b"],"user[name]":["a"]}`},
		{"of a browser", "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
			"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name=\"a %22b\"\r\n\r\nline\r\nline\r\n" +
				"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name=\"file\"; filename=\"é; b.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\r\n" +
				"------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n", `{"a %22b":["line\r\nline"],"file":["\u0000"]}`},
		{"of a library", `Multipart/Form-Data; boundary="a-b.c"`,
			"--a-b.c\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-transfer-encoding: binary\r\ncontent-disposition: form-data; name=a; filename*=utf-8''%c3%a9; filename=e\r\ncontent-length: 0\r\n\r\n\r\n--a-b.c--", `{"a":[""]}`},
		{"a JSON part", multipartType, part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json", `{"a":1}`) + field("a", "2") + "--x--", `{"a":[{"a":1},"2"]}`},
		{"a form without a part", multipartType, "--x--", `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := decideBody(t, reader, tt.kind, tt.body)
			if got := d.Metadata["body"]; !d.Allowed || got != tt.want {
				t.Errorf("%s (%v)\n got %v\nwant %v", d.Reason, d.Err, got, tt.want)
			}
		})
	}
}

// TestNamesAreBounded: as many as the configuration says, and no more; where
// nobody reads them, any number.
func TestNamesAreBounded(t *testing.T) {
	names := func(n int, format, separator string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, separator)
	}
	query := func(n int) *policy.Input {
		in := getPosts()
		in.RawQuery = "a=1&a=2&" + names(n-1, "n%d=1", "&")
		return in
	}
	body := func(kind, text string) *policy.Input {
		in := getPosts()
		in.Body = policy.Body{ContentType: kind, Bytes: []byte(text)}
		return in
	}
	json := func(n int) *policy.Input { return body("application/json", `[{"a": {`+names(n, `"n%d":1`, ",")+`}}]`) }
	form := func(n int) *policy.Input { return body(formType, names(n, "n%d=1", "&")+"&n1=2&n1=3") }
	parts := func(n int) *policy.Input {
		return body(multipartType, names(n, "--x\r\nContent-Disposition: form-data; name=n%d\r\n\r\n1", "\r\n")+"\r\n--x--")
	}
	for _, tt := range []struct {
		name, reads string
		most        int
		of          func(n int) *policy.Input
		set         func(c *policy.Config)
	}{
		{"a query", "count(input.parsed_query) > 0", 1000, query, nil},
		{"one name of a query", "input.request.query.a", 1000, query, nil},
		{"a form", "count(input.parsed_body) > 0", 1000, form, nil},
		{"a form of parts", "count(input.parsed_body) > 0", 1000, parts, nil},
		{"an object", "count(input.parsed_body) > 0", 10_000, json, nil},
		{"a query, as configured", "count(input.parsed_query) > 0", 7, query, func(c *policy.Config) { c.QueryNames = 7 }},
		{"a form, as configured", "count(input.parsed_body) > 0", 2000, form, func(c *policy.Config) { c.QueryNames = 2000 }},
		{"an object, as configured", "count(input.parsed_body) > 0", 20_000, json, func(c *policy.Config) { c.ObjectNames = 20_000 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cached := func(c *policy.Config) { c.DecisionCache = 1 << 20 }
			if tt.set == nil {
				tt.set = func(*policy.Config) {}
			}
			e := engine(t, "decision if "+tt.reads, tt.set, cached)
			for _, n := range []int{tt.most, tt.most + 1, tt.most} { // and what is cached answers for none of them
				want := answers.Allowed
				if n > tt.most {
					want = answers.InvalidRequest
				}
				if d := e.Decide(t.Context(), tt.of(n)); d.Reason != want {
					t.Errorf("%d names: %s (%v), want %s", n, d.Reason, d.Err, want)
				}
			}
			if d := engine(t, `decision if input.request.method`, tt.set, cached).Decide(t.Context(), tt.of(tt.most+1)); !d.Allowed {
				t.Errorf("unread: %s (%v)", d.Reason, d.Err)
			}
		})
	}
}

// TestCollidingNames: texts that share OPA's hash are refused wherever the input
// takes them from, and cost nobody who does not read them.
func TestCollidingNames(t *testing.T) {
	texts := testkit.Colliding(500, 7)
	quoted := `"` + strings.Join(texts, `","`) + `"`
	claims := map[string]any{}
	var headers []policy.Header
	for _, text := range texts {
		claims[text] = true
		headers = append(headers, policy.Header{Name: text, Value: "1"})
	}
	body := func(kind, text string) func(*policy.Input) {
		return func(in *policy.Input) { in.Body = policy.Body{ContentType: kind, Bytes: []byte(text)} }
	}
	for _, tt := range []struct {
		name, reads string
		change      func(*policy.Input)
	}{
		{"names of a query", "input.request.query", func(in *policy.Input) { in.RawQuery = strings.Join(texts, "&") }},
		{"values of a query", "input.request.query.a", func(in *policy.Input) { in.RawQuery = "a=" + strings.Join(texts, "&a=") }},
		{"headers", "input.request.headers", func(in *policy.Input) { in.Headers = headers }},
		{"names of an object", "input.parsed_body", body("application/json", "{"+strings.ReplaceAll(quoted, ",", ":1,")+":1}")},
		{"texts of a list", "input.parsed_body", body("application/json", "["+quoted+"]")},
		{"names of many objects", "input.parsed_body", body("application/json", "[{"+strings.ReplaceAll(quoted, ",", ":1},{")+":1}]")},
		{"names of a form", "input.parsed_body", body(formType, strings.Join(texts, "=1&"))},
		{"values of a form", "input.parsed_body", body(formType, "a="+strings.Join(texts, "&a="))},
		{"values of parts", "input.parsed_body", body(multipartType, field("a", strings.Join(texts, "\r\n"+strings.TrimSuffix(field("a", ""), "\r\n")))+"--x--")},
		{"texts of two JSON parts", "input.parsed_body", body(multipartType,
			part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json", "["+quoted[:600]+`"]`)+
				part("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/json", "["+quoted+"]")+"--x--")},
		{"claims", "input.identity.claims", func(in *policy.Input) {
			id := *in.Identity
			id.Claims = jwtverify.NewClaims(claims)
			in.Identity = &id
		}},
		{"attributes", "input.attributes", func(in *policy.Input) { in.Attributes = func() (any, error) { return claims, nil } }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := getPosts()
			tt.change(in)
			if d := engine(t, "decision if count("+tt.reads+") > 0").Decide(t.Context(), in); d.Reason != answers.InvalidRequest || !strings.Contains(fmt.Sprint(d.Err), "share a hash") {
				t.Errorf("%s (%v)", d.Reason, d.Err)
			}
			if d := stranger(t).Decide(t.Context(), in); !d.Allowed {
				t.Errorf("unread: %s (%v)", d.Reason, d.Err)
			}
		})
	}
}

// TestTheLogRefusesNothing: what a policy that reads nothing of it lets pass is
// recorded as it was, and at the price of any other request of its size.
func TestTheLogRefusesNothing(t *testing.T) {
	const n = 3500
	usual := make([]string, n)
	for i := range usual {
		usual[i] = fmt.Sprintf("a usual name %03d", i)
	}
	e := engine(t, `decision if input.request.method`)
	record := func(names []string) (took time.Duration) {
		in := getPosts()
		in.RawQuery = strings.ReplaceAll(strings.Join(names, "&"), " ", "+")
		for range 5 {
			start := time.Now()
			text, err := e.AppendInput(nil, in, noSecrets)
			if d := time.Since(start); took == 0 || d < took {
				took = d
			}
			var recorded struct {
				Request struct{ Query map[string][]string }
			}
			if err := json.Unmarshal(text, &recorded); err != nil {
				t.Fatal(err)
			}
			if err != nil || len(recorded.Request.Query) != n || len(recorded.Request.Query[names[n-1]]) != 1 {
				t.Fatalf("%d names recorded, %v", len(recorded.Request.Query), err)
			}
		}
		return took
	}
	if hostile, calm := record(testkit.Colliding(n, 1<<40)), record(usual); hostile > 3*calm+5*time.Millisecond {
		t.Errorf("%v, and %v for usual names", hostile, calm)
	}
}
