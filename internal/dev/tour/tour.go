// Package tour is the story that the demo tells and the end-to-end tests check:
// requests to the posts application through a real Envoy, each with the answer
// that it must get and what of it the application must see.
package tour

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Token is who a request speaks for. Claims that are not said here are those
// of a usual access token of the tenant.
type Token struct {
	Name      string // for the reader: the variable that holds it
	Tenant    string
	Subject   string
	Workspace string
	Roles     []string
	Scopes    []string
	Audience  string // "": the right one
	Expired   bool
	Company   string
}

// Step is one request and its answer.
type Step struct {
	Title   string
	Tenant  string // for the reader
	Method  string
	Host    string
	Path    string
	Token   *Token
	Cookie  bool // the token travels in a cookie
	Headers [][2]string
	Body    string

	Status int
	Reason string // of a denial; "": allowed; "envoy": Envoy refuses by itself
	// Identity is what the application must have received; a name that is not
	// in it must not have arrived at all. Only looked at where Reason is "".
	Identity map[string]string
}

// IdentityHeaders are the headers that speak for us, in the order of display.
var IdentityHeaders = []string{"x-user-id", "x-tenant-id", "x-workspace-id", "x-roles", "x-scopes", "x-company-id"}

// StepHeader numbers a request, so that the application's side of it is found
// again.
const StepHeader = "x-tour-step"

var (
	alice = &Token{Name: "ALICE", Tenant: "acme", Subject: "user:alice", Workspace: "ws_1", Roles: []string{"editor"}, Scopes: []string{"read:posts", "write:posts"}, Company: "Café 21"}
	root  = &Token{Name: "ROOT", Tenant: "acme", Subject: "user:root", Workspace: "ws_1", Roles: []string{"admin"}, Scopes: []string{"read:posts", "delete:posts"}}
	gwen  = &Token{Name: "GWEN", Tenant: "globex", Subject: "user:gwen", Workspace: "ws_7", Scopes: []string{"read:posts"}}
	ines  = &Token{Name: "INES", Tenant: "initech", Subject: "user:ines", Workspace: "ws_9", Scopes: []string{"read:posts"}}
)

func identity(t *Token) map[string]string {
	m := map[string]string{
		"x-user-id": t.Subject, "x-tenant-id": t.Tenant, "x-workspace-id": t.Workspace,
		"x-roles": strings.Join(t.Roles, ","), "x-scopes": strings.Join(t.Scopes, " "),
		"x-company-id": strings.NewReplacer("é", "%C3%A9", " ", "%20").Replace(t.Company),
	}
	for name, value := range m {
		if value == "" {
			delete(m, name)
		}
	}
	return m
}

// Steps returns the story.
func Steps() []Step {
	expired, audience := *alice, *alice
	expired.Name, expired.Expired = "ALICE_EXPIRED", true
	audience.Name, audience.Audience = "ALICE_ELSEWHERE", "another-app"
	const acme, globex = "acme.example", "globex.example"
	spoof := [][2]string{{"X-User-Id", "user:root"}, {"X-Roles", "admin"}, {"X-Workspace-Id", "ws_9"}}
	return []Step{
		{Title: "a public page", Tenant: "acme", Host: acme, Path: "/", Status: 200},
		{Title: "no token", Tenant: "acme", Host: acme, Path: "/me", Status: 401, Reason: "token_not_found"},
		{Title: "who am I", Tenant: "acme", Host: acme, Path: "/me", Token: alice, Status: 200, Identity: identity(alice)},
		{Title: "list posts", Tenant: "acme", Host: acme, Path: "/posts", Token: alice, Status: 200, Identity: identity(alice)},
		{Title: "create a post", Tenant: "acme", Method: "POST", Host: acme, Path: "/posts", Token: alice, Body: `{"title": "Hello", "content": "From Alice"}`, Status: 201, Identity: identity(alice)},
		{Title: "delete without the scope", Tenant: "acme", Method: "DELETE", Host: acme, Path: "/posts/1", Token: alice, Status: 403, Reason: "insufficient_scope"},
		{Title: "delete with the scope", Tenant: "acme", Method: "DELETE", Host: acme, Path: "/posts/1", Token: root, Status: 200, Identity: identity(root)},
		{Title: "the admins' page, as an editor", Tenant: "acme", Host: acme, Path: "/admin/users", Token: alice, Status: 403, Reason: "insufficient_role"},
		{Title: "the admins' page, as an admin", Tenant: "acme", Host: acme, Path: "/admin/users", Token: root, Status: 200, Identity: identity(root)},
		{Title: "one's own workspace", Tenant: "acme", Host: acme, Path: "/workspaces/ws_1/projects", Token: alice, Status: 200, Identity: identity(alice)},
		{Title: "another workspace", Tenant: "acme", Host: acme, Path: "/workspaces/ws_2/projects", Token: alice, Status: 403, Reason: "workspace_mismatch"},
		{Title: "the token in a cookie", Tenant: "acme", Host: acme, Path: "/me", Token: alice, Cookie: true, Status: 200, Identity: identity(alice)},
		{Title: "an expired token", Tenant: "acme", Host: acme, Path: "/me", Token: &expired, Status: 401, Reason: "token_expired"},
		{Title: "a token for another app", Tenant: "acme", Host: acme, Path: "/me", Token: &audience, Status: 401, Reason: "token_invalid"},
		{Title: "another tenant's token", Tenant: "globex", Host: globex, Path: "/me", Token: alice, Status: 401, Reason: "token_invalid"},
		{Title: "the other tenant's own", Tenant: "globex", Host: globex, Path: "/posts", Token: gwen, Status: 200, Identity: identity(gwen)},
		{Title: "the tenant by header", Tenant: "globex", Host: "api.internal", Path: "/me", Token: gwen, Headers: [][2]string{{"X-Tenant-ID", "globex"}}, Status: 200, Identity: identity(gwen)},
		{Title: "an unknown tenant", Host: "nobody.example", Path: "/", Status: 400, Reason: "invalid_tenant"},
		{Title: "header against host", Host: acme, Path: "/me", Token: alice, Headers: [][2]string{{"X-Tenant-ID", "globex"}}, Status: 400, Reason: "invalid_tenant"},
		{Title: "a spoofed x-user-id", Tenant: "acme", Host: acme, Path: "/me", Token: alice, Headers: spoof, Status: 200, Identity: identity(alice)},
		{Title: "the same on a public page", Tenant: "acme", Host: acme, Path: "/", Headers: spoof, Status: 200},
		{Title: "a path trick, seen by Envoy", Tenant: "acme", Host: acme, Path: "/posts/..%2fadmin/users", Token: alice, Status: 400, Reason: "envoy"},
		{Title: "a path trick that Envoy lets by", Tenant: "acme", Host: acme, Path: "/posts/%zz", Token: alice, Status: 400, Reason: "invalid_request"},
		{Title: "a path that no route names", Tenant: "acme", Host: acme, Path: "/secret", Token: root, Status: 403, Reason: "no_route"},
		{Title: "an issuer that is down", Tenant: "initech", Host: "initech.example", Path: "/me", Token: ines, Status: 503, Reason: "keys_unavailable"},
		{Title: "and the others go on", Tenant: "acme", Host: acme, Path: "/me", Token: alice, Status: 200, Identity: identity(alice)},
	}
}

// Request makes the HTTP request of step n against an edge listener. The path
// goes out as it is written, tricks included.
func (s Step) Request(edge, token string, n int) (*http.Request, error) {
	req, err := http.NewRequest(s.method(), edge, strings.NewReader(s.Body))
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = s.Path
	req.Host = s.Host
	req.Header.Set(StepHeader, strconv.Itoa(n))
	if s.Body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range s.Headers {
		req.Header.Set(h[0], h[1])
	}
	switch {
	case s.Token == nil:
	case s.Cookie:
		req.Header.Set("Cookie", "theme=dark; access_token="+token)
	default:
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

func (s Step) method() string {
	if s.Method == "" {
		return http.MethodGet
	}
	return s.Method
}

// Line is the request as a reader knows it: method, host and path.
func (s Step) Line() string { return s.method() + " " + s.Host + s.Path }

// Curl is the request as a command, with the token in the variable of its name.
func (s Step) Curl(edge string) string {
	words := []string{"curl -i --path-as-is"}
	if s.Method != "" {
		words = append(words, "-X "+s.Method)
	}
	words = append(words, "-H "+quote("Host: "+s.Host))
	for _, h := range s.Headers {
		words = append(words, "-H "+quote(h[0]+": "+h[1]))
	}
	switch {
	case s.Token == nil:
	case s.Cookie:
		words = append(words, `-H "Cookie: access_token=$`+s.Token.Name+`"`)
	default:
		words = append(words, `-H "Authorization: Bearer $`+s.Token.Name+`"`)
	}
	if s.Body != "" {
		words = append(words, "-H "+quote("Content-Type: application/json"), "-d "+quote(s.Body))
	}
	return strings.Join(append(words, quote(edge+s.Path)), " ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Claims are the token's claims.
func (t Token) Claims(issuer, audience string, now time.Time) map[string]any {
	if t.Audience != "" {
		audience = t.Audience
	}
	expiry := now.Add(time.Hour)
	if t.Expired {
		expiry = now.Add(-time.Hour)
	}
	c := map[string]any{
		"iss": issuer, "aud": audience, "sub": t.Subject, "tenant_id": t.Tenant, "workspace_id": t.Workspace,
		"roles": t.Roles, "scopes": t.Scopes, "token_type": "access",
		"iat": expiry.Add(-2 * time.Hour).Unix(), "exp": expiry.Unix(),
	}
	if t.Company != "" {
		c["company_id"] = t.Company
	}
	return c
}

// Answer is what came back, and what the application saw.
type Answer struct {
	Status int
	Body   string
	Header http.Header
	Seen   http.Header // nil: the request did not reach the application
}

// Do sends a step.
func Do(client *http.Client, req *http.Request) (Answer, error) {
	res, err := client.Do(req) // #nosec G704 -- the edge of the tour, which the caller names
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", req.Method, (&url.URL{Path: req.URL.Opaque}).Path, err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: res.StatusCode, Body: string(body), Header: res.Header}, res.Body.Close()
}
