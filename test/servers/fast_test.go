//go:build interop

package servers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// Servers that the gate has the tools for.
func TestServers(t *testing.T) {
	node, python := installNode(t), installPython(t)
	gunicorn := []string{"-m", "gunicorn", "--threads", "4", "--no-control-socket"}
	judge(t, []*server{
		node("express4"), node("express5"), node("fastify"), node("fastify-loose"),
		python("flask", append(gunicorn, "-b", "127.0.0.1:${PORT}", "flask_app:app")...),
		python("django", append(gunicorn, "-b", "127.0.0.1:${PORT}", "django_app:app")...),
		python("starlette", "-m", "uvicorn", "--host", "127.0.0.1", "--port", "${PORT}", "starlette_app:app"),
		nginx(t), serveMux(t),
	})
}

// installNode returns a maker of the servers of node/app.mjs.
func installNode(t *testing.T) func(name string) *server {
	t.Helper()
	const advice = "install Node.js 20.19 or later, with npm, and put both on PATH"
	node, npm := testkit.Tool(t, "node", advice), testkit.Tool(t, "npm", advice)
	dir := testkit.Installed(t, cache("node"), "node", []string{"package.json", "package-lock.json"}, func(dir string) {
		testkit.Run(t, dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	return func(name string) *server {
		return &server{name: name, command: func(testing.TB, string, string) (string, []string, []string) {
			return node, []string{"node/app.mjs", name}, []string{"NODE_ENV=production", "MODULES=" + filepath.Join(dir, "node_modules")}
		}}
	}
}

// installPython returns a maker of servers by their command line.
func installPython(t *testing.T) func(name string, args ...string) *server {
	t.Helper()
	python := testkit.Tool(t, "python3", "install Python 3.11 or later, with venv and pip (Debian: python3-venv)")
	dir := testkit.Installed(t, cache("python"), "python", []string{"requirements.txt"}, func(dir string) {
		testkit.Run(t, dir, python, "-m", "venv", "venv")
		testkit.Run(t, dir, filepath.Join(dir, "venv", "bin", "python"), "-m", "pip", "install", "--quiet",
			"--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "-r", "requirements.txt")
	})
	return func(name string, args ...string) *server {
		return &server{name: name, command: func(_ testing.TB, _, port string) (string, []string, []string) {
			return filepath.Join(dir, "venv", "bin", "python"), filledIn(args, port), []string{"PYTHONPATH=" + absolute(t, "python"), "PYTHONDONTWRITEBYTECODE=1"}
		}}
	}
}

func nginx(t *testing.T) *server {
	t.Helper()
	path := testkit.Tool(t, "nginx", "install it (Debian: nginx-light), or run make interop as root")
	return &server{name: "nginx", command: func(t testing.TB, dir, port string) (string, []string, []string) {
		write(t, dir, map[string]string{"files/report": `{"handler":"file"}`, "files/report.json": `{"handler":"file"}`})
		return path, []string{"-e", "stderr", "-p", dir, "-c", filled(t, "nginx/nginx.conf", dir, "${DIR}", dir, "${PORT}", port)}, nil
	}}
}

// serveMux is the application in Go's own router.
func serveMux(t *testing.T) *server {
	t.Helper()
	mux := http.NewServeMux()
	says := func(pattern, handler string, value ...func(*http.Request) string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer := map[string]any{"handler": handler}
			for _, f := range value {
				answer["value"] = f(r)
			}
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				panic(fmt.Errorf("answering: %w", err))
			}
		})
	}
	param := func(name string) func(*http.Request) string {
		return func(r *http.Request) string { return r.PathValue(name) }
	}
	says("/{$}", "root")
	says("/admin", "admin")
	says("/admin/users/{id}", "user", param("id"))
	says("GET /items", "items", func(r *http.Request) string { return r.URL.Query().Get("workspace") })
	says("GET /orders", "orders", func(r *http.Request) string { return r.URL.Query().Get("workspace_id") })
	says("GET /hdr", "hdr", func(r *http.Request) string { return r.Header.Get("X-Org") })
	says("/w/{ws}", "workspace", param("ws"))
	says("/files/{name}", "file", param("name"))
	says("GET /public/{name}", "public", param("name"))
	says("POST /things/{id}", "update", param("id"))
	says("DELETE /things/{id}", "delete", param("id"))
	says("DELETE /posts/{id}", "unpublish", param("id"))
	says("/exports", "exports")
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	return &server{name: "servemux", address: app.Listener.Addr().String()}
}
