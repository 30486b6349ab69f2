// Package upstream is a small application to put behind Envoy: posts in
// memory, written as a user of pkg/httpauth writes one. The development tools
// and the end-to-end tests run it.
package upstream

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/ussoio/ussoauthz/pkg/httpauth"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// The bounds of the application.
const (
	MaxBody  = 64 << 10 // bytes of a request's body
	MaxPosts = 1000     // of all tenants together
)

// New returns the application. auth says who is calling: httpauth.FromHeaders
// behind Envoy, a fake in tests.
//
// Each handler is guarded although ussoauthz has already decided: the
// application then stays safe where a route was forgotten.
func New(auth httpauth.Authenticator) http.Handler {
	app := &app{posts: newStore(MaxPosts)}
	user := httpauth.Middleware(auth)
	mux := http.NewServeMux()
	handle := func(pattern string, guard func(http.Handler) http.Handler, h func(http.ResponseWriter, *http.Request, *jwtverify.Identity)) {
		mux.Handle(pattern, user(guard(withIdentity(h))))
	}
	workspace := func(r *http.Request) string { return r.PathValue("workspace_id") }

	mux.HandleFunc("GET /{$}", message("Welcome to My API"))
	mux.HandleFunc("GET /health", message("ok"))
	mux.HandleFunc("/echo", echo)
	handle("GET /me", anybody, app.me)
	handle("GET /posts", httpauth.RequireScope("read:posts"), app.listPosts)
	handle("POST /posts", httpauth.RequireScope("write:posts"), app.createPost)
	handle("DELETE /posts/{post_id}", httpauth.RequireScope("delete:posts"), app.deletePost)
	handle("GET /admin/users", httpauth.RequireRole("admin"), app.listUsers)
	handle("POST /content", httpauth.RequireAnyRole("editor", "admin"), app.createContent)
	handle("GET /workspaces/{workspace_id}/projects", httpauth.RequireWorkspace(workspace), app.listProjects)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		if r.Header.Get("X-Echo") != "" {
			echo(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// anybody guards a handler that needs a caller and nothing more.
func anybody(next http.Handler) http.Handler { return next }

// withIdentity hands a handler its caller, whom the middleware around it has
// found.
func withIdentity(h func(http.ResponseWriter, *http.Request, *jwtverify.Identity)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := httpauth.FromContext(r.Context())
		if !ok {
			refuse(w, http.StatusInternalServerError, "no identity")
			return
		}
		h(w, r, id)
	})
}

type app struct{ posts *store }

func (a *app) me(w http.ResponseWriter, _ *http.Request, id *jwtverify.Identity) {
	me := map[string]any{
		"user_id":   id.UserID,
		"tenant":    id.TenantID,
		"workspace": id.WorkspaceID,
		"roles":     list(id.Roles),
		"scopes":    list(id.Scopes),
	}
	if claims := id.Claims.Map(); len(claims) > 0 {
		me["claims"] = claims
	}
	reply(w, http.StatusOK, me)
}

func (a *app) listPosts(w http.ResponseWriter, _ *http.Request, id *jwtverify.Identity) {
	reply(w, http.StatusOK, map[string]any{"posts": a.posts.list(placeOf(id))})
}

func (a *app) createPost(w http.ResponseWriter, r *http.Request, id *jwtverify.Identity) {
	var sent struct{ Title, Content string }
	if !read(w, r, &sent) {
		return
	}
	if sent.Title == "" {
		refuse(w, http.StatusUnprocessableEntity, "a post needs a title")
		return
	}
	post, err := a.posts.add(placeOf(id), Post{Title: sent.Title, Content: sent.Content, AuthorID: id.UserID})
	if err != nil {
		refuse(w, http.StatusInsufficientStorage, err.Error())
		return
	}
	reply(w, http.StatusCreated, map[string]any{"post": post})
}

func (a *app) deletePost(w http.ResponseWriter, r *http.Request, id *jwtverify.Identity) {
	if !a.posts.remove(placeOf(id), r.PathValue("post_id")) {
		// Also for a post of another workspace: that it is there is not told.
		refuse(w, http.StatusNotFound, "no such post")
		return
	}
	reply(w, http.StatusOK, map[string]any{"message": "Post deleted"})
}

func (a *app) listUsers(w http.ResponseWriter, _ *http.Request, id *jwtverify.Identity) {
	reply(w, http.StatusOK, map[string]any{"users": a.posts.authors(id.TenantID)})
}

func (a *app) createContent(w http.ResponseWriter, r *http.Request, _ *jwtverify.Identity) {
	var sent map[string]any
	if !read(w, r, &sent) {
		return
	}
	reply(w, http.StatusOK, map[string]any{"message": "Content created"})
}

func (a *app) listProjects(w http.ResponseWriter, _ *http.Request, id *jwtverify.Identity) {
	reply(w, http.StatusOK, map[string]any{"workspace_id": id.WorkspaceID, "projects": []string{}})
}

func message(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"message": text})
	}
}

// read reads one JSON value, or answers what is wrong with it.
func read(w http.ResponseWriter, r *http.Request, value any) bool {
	decoder := json.NewDecoder(r.Body)
	err := decoder.Decode(value)
	if err == nil {
		_, err = decoder.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is too large")
		return false
	}
	refuse(w, http.StatusBadRequest, "the body is not the JSON that is expected")
	return false
}

func reply(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the answer can't be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that left is no fault
}

func refuse(w http.ResponseWriter, status int, detail string) {
	reply(w, status, map[string]string{"error": http.StatusText(status), "detail": detail})
}

// list returns a list that JSON writes as [] where it is empty.
func list(s []string) []string { return append([]string{}, s...) }
