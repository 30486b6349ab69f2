package httpauth_test

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// newAPI is an application with posts. Who calls it is the authenticator's
// matter: Envoy's headers in production, a fake in tests.
func newAPI(auth httpauth.Authenticator) http.Handler {
	user := httpauth.Middleware(auth)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"message": "Welcome to My API"})
	})
	mux.Handle("GET /me", user(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpauth.FromContext(r.Context())
		reply(w, map[string]any{
			"user_id": id.Subject, "tenant": id.TenantID, "workspace": id.WorkspaceID,
			"roles": id.Roles, "scopes": id.Scopes,
		})
	})))
	mux.Handle("GET /posts", user(httpauth.RequireScope("read:posts")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpauth.FromContext(r.Context())
		reply(w, map[string]any{"posts": []string{"a post of " + id.WorkspaceID}})
	}))))
	mux.Handle("DELETE /posts/{post_id}", user(httpauth.RequireScope("delete:posts")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"message": "Post deleted"})
	}))))
	return mux
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

func call(h http.Handler, method, path string, headers ...string) {
	r := httptest.NewRequest(method, path, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

// An application behind Envoy and ussoauthz, which have checked the token and
// set the headers.
func Example() {
	api := newAPI(httpauth.FromHeaders(httpauth.DefaultHeaders()))

	call(api, "GET", "/")
	call(api, "GET", "/me")
	call(api, "GET", "/me", "X-User-Id: user:1", "X-Tenant-Id: acme", "X-Workspace-Id: ws_1", "X-Roles: editor", "X-Scopes: read:posts")
	call(api, "GET", "/posts", "X-User-Id: user:1", "X-Workspace-Id: ws_1", "X-Scopes: read:posts")
	call(api, "DELETE", "/posts/1", "X-User-Id: user:1", "X-Scopes: read:posts")
	// Output:
	// 200 {"message":"Welcome to My API"}
	// 401 {"error":"Token not found","detail":"A token is required","reason":"token_not_found"}
	// 200 {"roles":["editor"],"scopes":["read:posts"],"tenant":"acme","user_id":"user:1","workspace":"ws_1"}
	// 200 {"posts":["a post of ws_1"]}
	// 403 {"error":"Insufficient permissions","detail":"Required scope 'delete:posts' not found","reason":"insufficient_scope"}
}

// Testing an application: the caller is whom the test says.
func ExampleFake() {
	api := newAPI(httpauth.Fake(&jwtverify.Identity{
		Subject: "user:test123", TenantID: "org_test", WorkspaceID: "ws_test",
		Roles: []string{"editor"}, Scopes: []string{"read:posts", "write:posts"},
	}))
	call(api, "GET", "/posts")
	// Output:
	// 200 {"posts":["a post of ws_test"]}
}

// A service without Envoy verifies tokens itself. The keys here are one public
// key; jwtverify's Fetcher opens a JWKS URL instead.
func ExampleFromToken() {
	key, err := jwtverify.ParsePEM([]byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----`), jwtverify.EdDSA)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := jwtverify.NewStaticKeySet(key)
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwtverify.New(jwtverify.Config{
		Keys:      keys,
		Issuers:   []string{"https://sso.acme.example"},
		Audiences: []string{"posts"},
	})
	if err != nil {
		log.Fatal(err)
	}
	api := newAPI(httpauth.FromToken(verifier, httpauth.DefaultSource()))
	call(api, "GET", "/posts", "Authorization: Bearer not-a-token")
	// Output:
	// 401 {"error":"Invalid token","detail":"The token is not valid","reason":"token_invalid"}
}

// An Authenticator is a function: one can choose by tenant, log who came, or
// ask a further source.
func ExampleAuthenticator() {
	byTenant := map[string]httpauth.Authenticator{
		"tenant1": httpauth.Fake(&jwtverify.Identity{Subject: "user:1", TenantID: "tenant1"}),
		"tenant2": httpauth.Fake(&jwtverify.Identity{Subject: "user:2", TenantID: "tenant2"}),
	}
	logger := log.New(os.Stdout, "", 0)
	api := newAPI(func(r *http.Request) (*jwtverify.Identity, error) {
		auth, ok := byTenant[r.Header.Get("X-Tenant-ID")]
		if !ok {
			return nil, &httpauth.Error{Reason: answers.InvalidTenant}
		}
		id, err := auth(r)
		if err == nil {
			logger.Printf("%s of %s authenticated", id.Subject, id.TenantID)
		}
		return id, err
	})
	call(api, "GET", "/me", "X-Tenant-ID: tenant3")
	call(api, "GET", "/me", "X-Tenant-ID: tenant2")
	// Output:
	// 400 {"error":"Invalid tenant","detail":"The request names no tenant, an unknown one, or several","reason":"invalid_tenant"}
	// user:2 of tenant2 authenticated
	// 200 {"roles":null,"scopes":null,"tenant":"tenant2","user_id":"user:2","workspace":""}
}

// Projects of a workspace are for its members.
func ExampleRequireWorkspace() {
	mux := http.NewServeMux()
	own := httpauth.RequireWorkspace(func(r *http.Request) string { return r.PathValue("workspace_id") })
	mux.Handle("GET /workspaces/{workspace_id}/projects", own(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"projects": []string{}})
	})))
	api := httpauth.Middleware(httpauth.Fake(&jwtverify.Identity{Subject: "user:1", WorkspaceID: "ws_1"}))(mux)
	call(api, "GET", "/workspaces/ws_1/projects")
	call(api, "GET", "/workspaces/ws_2/projects")
	// Output:
	// 200 {"projects":[]}
	// 403 {"error":"Insufficient permissions","detail":"The token belongs to another workspace","reason":"workspace_mismatch"}
}
