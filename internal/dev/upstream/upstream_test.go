package upstream_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/dev/upstream"
	"github.com/ussoio/ussoauthz/pkg/httpauth"
)

func newApp() http.Handler {
	return upstream.New(httpauth.FromHeaders(httpauth.DefaultHeaders()))
}

// as returns the headers that ussoauthz sets for a caller.
func as(user, tenant, workspace, roles, scopes string) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{
		"X-User-Id": user, "X-Tenant-Id": tenant, "X-Workspace-Id": workspace, "X-Roles": roles, "X-Scopes": scopes,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	return h
}

func call(app http.Handler, method, path, body string, header http.Header) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestPages(t *testing.T) {
	nobody := http.Header{}
	reader := as("user:1", "acme", "ws_1", "", "read:posts")
	editor := as("user:2", "acme", "ws_1", "editor", "write:posts")
	admin := as("user:3", "acme", "", "admin", "delete:posts")
	post := `{"title": "a", "content": "b"}`
	tests := []struct {
		method, path, body string
		as                 http.Header
		status             int
		contains           string
	}{
		{"GET", "/", "", nobody, 200, `{"message":"Welcome to My API"}`},
		{"GET", "/health", "", nobody, 200, `{"message":"ok"}`},
		{"GET", "/me", "", nobody, 401, `"token_not_found"`},
		{"GET", "/me", "", reader, 200, `{"roles":[],"scopes":["read:posts"],"tenant":"acme","user_id":"user:1","workspace":"ws_1"}`},
		{"GET", "/posts", "", nobody, 401, `"token_not_found"`},
		{"GET", "/posts", "", reader, 200, `{"posts":[]}`},
		{"GET", "/posts", "", editor, 403, `Required scope 'read:posts' not found`},
		{"POST", "/posts", post, reader, 403, `Required scope 'write:posts' not found`},
		{"POST", "/posts", post, editor, 201, `"author_id":"user:2"`},
		{"POST", "/posts", `{"title": ""}`, editor, 422, `a post needs a title`},
		{"POST", "/posts", `{`, editor, 400, `the body is not the JSON`},
		{"POST", "/posts", post + post, editor, 400, `the body is not the JSON`},
		{"POST", "/posts", `{"title": "` + strings.Repeat("a", upstream.MaxBody) + `"}`, editor, 413, `too large`},
		{"DELETE", "/posts/7", "", admin, 404, `no such post`},
		{"DELETE", "/posts/7", "", editor, 403, `Required scope 'delete:posts' not found`},
		{"GET", "/admin/users", "", reader, 403, `Required role 'admin' not found`},
		{"GET", "/admin/users", "", admin, 200, `{"users":[]}`},
		{"POST", "/content", `{}`, reader, 403, `One of roles ('editor', 'admin') required`},
		{"POST", "/content", `{}`, editor, 200, `{"message":"Content created"}`},
		{"GET", "/workspaces/ws_1/projects", "", reader, 200, `{"projects":[],"workspace_id":"ws_1"}`},
		{"GET", "/workspaces/ws_2/projects", "", reader, 403, `"workspace_mismatch"`},
		{"GET", "/workspaces/ws_1/projects", "", admin, 403, `"workspace_mismatch"`},
		{"GET", "/none", "", admin, 404, ``},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			status, body := call(newApp(), test.method, test.path, test.body, test.as)
			if status != test.status || !strings.Contains(body, test.contains) {
				t.Errorf("got %d %s, want %d with %s", status, body, test.status, test.contains)
			}
		})
	}
}

// TestPostsStayInTheirWorkspace: neither a workspace of the same tenant nor
// one of the same name sees or deletes them.
func TestPostsStayInTheirWorkspace(t *testing.T) {
	app := newApp()
	const scopes = "read:posts write:posts delete:posts"
	owner := as("user:1", "acme", "ws_1", "", scopes)
	if status, body := call(app, "POST", "/posts", `{"title": "secret plan"}`, owner); status != http.StatusCreated {
		t.Fatal(status, body)
	}
	for name, other := range map[string]http.Header{
		"another workspace":         as("user:1", "acme", "ws_2", "", scopes),
		"another tenant's ws_1":     as("user:1", "globex", "ws_1", "", scopes),
		"no workspace":              as("user:1", "acme", "", "", scopes),
		"another tenant, none else": as("user:1", "globex", "", "", scopes),
	} {
		if _, body := call(app, "GET", "/posts", "", other); body != `{"posts":[]}` {
			t.Errorf("%s sees %s", name, body)
		}
		if status, _ := call(app, "DELETE", "/posts/1", "", other); status != http.StatusNotFound {
			t.Errorf("%s: DELETE answers %d, want 404", name, status)
		}
	}
	if _, body := call(app, "GET", "/posts", "", owner); !strings.Contains(body, "secret plan") {
		t.Errorf("the owner sees %s", body)
	}
	if _, body := call(app, "GET", "/admin/users", "", as("user:9", "globex", "", "admin", "")); body != `{"users":[]}` {
		t.Errorf("globex sees the users %s", body)
	}
	if status, body := call(app, "DELETE", "/posts/1", "", owner); status != http.StatusOK || body != `{"message":"Post deleted"}` {
		t.Errorf("DELETE by the owner: %d %s", status, body)
	}
	if _, body := call(app, "GET", "/posts", "", owner); body != `{"posts":[]}` {
		t.Errorf("after DELETE the owner sees %s", body)
	}
}

func TestPostsAreBounded(t *testing.T) {
	app := newApp()
	writer := as("user:1", "acme", "ws_1", "", "write:posts")
	for range upstream.MaxPosts {
		if status, body := call(app, "POST", "/posts", `{"title": "a"}`, writer); status != http.StatusCreated {
			t.Fatal(status, body)
		}
	}
	if status, body := call(app, "POST", "/posts", `{"title": "a"}`, writer); status != http.StatusInsufficientStorage {
		t.Errorf("one more: %d %s, want 507", status, body)
	}
}

func TestEcho(t *testing.T) {
	header := http.Header{"X-User-Id": {"a", "b"}, "X_user_id": {"c"}, "Authorization": {"Bearer t"}}
	want := upstream.Echo{
		Method: "PUT", Path: "/echo", Query: "q=1&q=2", Target: "/echo?q=1&q=2", Host: "example.com", Proto: "HTTP/1.1",
		Headers: map[string][]string{"x-user-id": {"a", "b"}, "x_user_id": {"c"}, "authorization": {"Bearer t"}},
		Body:    "hello",
	}
	check := func(target string, header http.Header, want upstream.Echo) {
		t.Helper()
		status, body := call(newApp(), "PUT", target, "hello", header)
		var got upstream.Echo
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
			t.Fatal(status, body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
	check("/echo?q=1&q=2", header, want)

	header.Set("X-Echo", "1")
	want.Headers["x-echo"] = []string{"1"}
	want.Path, want.Query, want.Target = "/a/../posts b", "", "/a/../posts%20b"
	check("/a/../posts%20b", header, want)

	status, _ := call(newApp(), "POST", "/echo", strings.Repeat("a", upstream.MaxBody+1), http.Header{})
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d, want 413", status)
	}
}
