package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// planted is what must not be in a record, wherever a client put it.
const planted = "pl4nted"

// A credential in any place of a request is masked, its name stays, and what is
// none is as it was.
func TestCredentialsAreMasked(t *testing.T) {
	e := engine(t, `default decision := false
decision if {
	input.attributes
	input.parsed_query
	input.parsed_body
	input.request
}`)
	in := getPosts()
	in.RawQuery = "access_token=" + planted + "&page_token=p2&Id-Token=" + planted + "&%61pi%5Fkey=" + planted + ";X-Amz-Signature=" + planted + "&code=" + planted + "&key=" + planted + "&return_to=%2Fx%3Ftoken%3D" + planted + "&q=shoes&token"
	in.Headers = append(in.Headers,
		policy.Header{Name: "x-api-key", Value: planted}, policy.Header{Name: "sec-websocket-protocol", Value: "bearer, " + planted},
		policy.Header{Name: "proxy-authorization", Value: "Basic " + planted}, policy.Header{Name: "x-csrf-token", Value: planted},
		policy.Header{Name: "cookie", Value: "theme=" + planted + "; session=" + planted}, policy.Header{Name: "x-own", Value: planted},
		policy.Header{Name: "referer", Value: "https://app.example/cb?state=s1#id_token=" + planted + "&x=1"}, policy.Header{Name: "accept", Value: "text/html"},
	)
	body := `{"user":"alice","Password":"` + planted + `","nested":[{"client-secret":"` + planted + `","refreshToken":["` + planted + `"]}],"code":"DE","key":"k1"}`
	in.Body = policy.Body{ContentType: "application/json", Bytes: []byte(body)}
	in.Attributes = func() (any, error) {
		return map[string]any{"request": map[string]any{"http": map[string]any{
			"headers":  map[string]any{":path": "/a?jwt=" + planted + "&q=shoes", "X-Auth-Token": planted, "x-own": planted},
			"path":     "/login?password=" + planted + "&q=shoes#access_token=" + planted,
			"query":    "secret=" + planted + "&q=shoes",
			"body":     body,
			"raw_body": base64.StdEncoding.EncodeToString([]byte("user=a&passwd=" + planted)),
			"headerMap": map[string]any{"headers": []any{
				map[string]any{"key": "X-Api-Key", "rawValue": base64.StdEncoding.EncodeToString([]byte(planted))},
				map[string]any{"key": ":path", "rawValue": base64.StdEncoding.EncodeToString([]byte("/a?sig=" + planted + "&q=shoes"))},
			}},
		}}}, nil
	}
	text, err := e.AppendInput(nil, in, func(name string) bool { return name == "x-own" })
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), planted) || strings.Contains(string(text), base64.StdEncoding.EncodeToString([]byte(planted))) {
		t.Errorf("a credential is in it: %s", text)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) any {
		var v any = doc
		for _, key := range path {
			object, _ := v.(map[string]any)
			v = object[key]
		}
		return v
	}
	for path, want := range map[string]any{
		"request/headers/cookie":                "a=(masked); b=(masked); theme=(masked); session=(masked)",
		"request/headers/referer":               "https://app.example/cb?state=s1#id_token=(masked)&x=1",
		"request/headers/accept":                "text/html",
		"request/headers/x-api-key":             "(masked)",
		"parsed_body/user":                      "alice",
		"parsed_body/Password":                  "(masked)",
		"parsed_body/code":                      "DE",
		"parsed_body/key":                       "k1",
		"attributes/request/http/path":          "/login?password=(masked)&q=shoes#access_token=(masked)",
		"attributes/request/http/query":         "secret=(masked)&q=shoes",
		"attributes/request/http/body":          "(masked)",
		"attributes/request/http/raw_body":      "(masked)",
		"attributes/request/http/headers/:path": "/a?jwt=(masked)&q=shoes",
	} {
		if got := at(strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, query := range []string{"parsed_query", "request/query"} {
		for name, want := range map[string]string{"access_token": "(masked)", "page_token": "p2", "q": "shoes", "api_key": "(masked)", "return_to": "/x?token=(masked)"} {
			list, _ := at(append(strings.Split(query, "/"), name)...).([]any)
			if len(list) != 1 || list[0] != want {
				t.Errorf("%s of %s is %v, want %q", name, query, list, want)
			}
		}
	}
}

// Which names are those of credentials, and which are not.
func TestNamesOfCredentials(t *testing.T) {
	masked := func(query string) bool {
		e := engine(t, "default decision := false\ndecision if input.attributes")
		in := getPosts()
		in.Attributes = func() (any, error) {
			return map[string]any{"request": map[string]any{"http": map[string]any{"query": query}}}, nil
		}
		text, err := e.AppendInput(nil, in, func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(string(text), planted)
	}
	for _, name := range strings.Fields("token access_token id_token refreshToken X-Amz-Security-Token auth code KEY api_key apikey api-key password new_password passwd pwd secret client_secret signature X-Amz-Signature X-Goog-Signature sig jwt assertion client_assertion SAMLResponse otp session_id JSESSIONID %74oken token[] to%2Dken id_token_hint idTokenHint tokens token2 x-token-v2 X-Authorization x-forwarded-authorization x-auth x-auth-key authKey x-otp pin pass pw hmac x-session-id session_state session x-cookie ocp-apim-subscription-key x-functions-key device_code user_code authorization_code mfa-code cf-access-jwt-assertion x-hub-signature-256 oauth_verifier dpop ticket") {
		if !masked(name + "=" + planted) {
			t.Errorf("%s is not masked", name)
		}
	}
	for _, name := range strings.Fields("q page_token nextToken tokenize keyboard codec author user sigma passenger session_type monkey token_type max_tokens spin option zip_code country_code status_code sort_key foreign_key idempotency-key compass signal") {
		if masked(name + "=" + planted) {
			t.Errorf("%s is masked", name)
		}
	}
}

// What is a credential by its own form is masked under every name.
func TestCredentialsByTheirForm(t *testing.T) {
	e := engine(t, "default decision := false\ndecision if {\n\tinput.attributes\n\tinput.parsed_path\n\tinput.parsed_query\n\tinput.parsed_body\n\tinput.request\n\tinput.route\n}")
	jws := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ" + planted + "In0.c2ln"
	in := func(change func(in *policy.Input, http map[string]any)) *policy.Input {
		q, http := getPosts(), map[string]any{}
		change(q, http)
		q.Attributes = func() (any, error) { return map[string]any{"request": map[string]any{"http": http}}, nil }
		return q
	}
	header := func(value string) *policy.Input {
		return in(func(in *policy.Input, http map[string]any) {
			in.Headers = append(in.Headers, policy.Header{Name: "x-whatever", Value: value})
			http["headers"] = map[string]any{"x-whatever": value}
		})
	}
	path := func(segments ...string) *policy.Input {
		return in(func(in *policy.Input, http map[string]any) {
			in.Segments, in.Params, http["path"] = segments, []policy.Header{{Name: "id", Value: segments[len(segments)-1]}}, "/"+strings.Join(segments, "/")
		})
	}
	query := func(query string) *policy.Input {
		return in(func(in *policy.Input, http map[string]any) { in.RawQuery, http["path"] = query, "/x?"+query })
	}
	body := func(kind, body string) *policy.Input {
		return in(func(in *policy.Input, http map[string]any) {
			in.Body = policy.Body{ContentType: kind, Bytes: []byte(body)}
			http["body"], http["raw_body"] = body, base64.StdEncoding.EncodeToString([]byte(body))
		})
	}
	for name, tt := range map[string]*policy.Input{
		"header, Bearer":            header("Bearer " + planted),
		"header, basic":             header("basic " + planted),
		"header, a JWT":             header("a=<" + jws + ">"),
		"header, a URL's password":  header("https://user:" + planted + "@host/"),
		"path, a JWT":               path("reset", jws),
		"path, a parameter":         path("x;access_token=" + planted),
		"query, a JWT":              query("x=" + jws),
		"query, no name":            query(jws),
		"query, a URL's password":   query("url=https%3A%2F%2Fu%3A" + planted + "%40h%2F"),
		"query, a URL within":       query("return=%2Fy%3Faccess_token%3D" + planted),
		"query, an escaped pair":    query("a=1%26access_token=" + planted),
		"JSON, Bearer":              body("application/json", `{"x":"Bearer `+planted+`"}`),
		"JSON, a JWT":               body("application/json", `{"x":["`+jws+`"]}`),
		"JSON, a URL":               body("application/json", `{"x":"https://h/?access_token=`+planted+`"}`),
		"JSON, GraphQL":             body("application/json", `{"query":"mutation{login(password:\"`+planted+`\"){id}}"}`),
		"JSON, JSON":                body("application/json", `{"x":"{\"apiKey\": \"`+planted+`\"}"}`),
		"JSON, an escaped name":     body("application/json", `{"\u0070in":"`+planted+`"}`),
		"JSON, a private key":       body("application/json", `{"x":"-----BEGIN PRIVATE KEY-----`+planted+`"}`),
		"form, a code":              body("application/x-www-form-urlencoded", "grant_type=authorization_code&code="+planted),
		"form, an escaped name":     body("application/x-www-form-urlencoded", "pass%77ord="+planted),
		"not read, an escaped name": body("text/plain", "pass%77ord="+planted),
	} {
		text, err := e.AppendInput(nil, tt, func(string) bool { return false })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, quoted := range strings.FieldsFunc(string(text), func(r rune) bool { return r == '"' }) {
			if raw, err := base64.StdEncoding.DecodeString(quoted); err == nil && strings.Contains(string(raw), planted) {
				t.Errorf("%s is in base64: %s", name, text)
			}
		}
		if strings.Contains(string(text), planted) || !strings.Contains(string(text), "(masked)") {
			t.Errorf("%s is not masked: %s", name, text)
		}
	}
	for _, text := range []string{"basically fine", "/a/b;c=d", "https://host:8080/a?b=c", "eyJust a word", "a token: none of it", "10:20"} {
		if got := policy.HideText(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
