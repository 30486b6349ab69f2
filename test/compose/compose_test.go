//go:build compose

// Package compose brings docker-compose.yaml up, takes the tour through it and
// revokes a user's tokens. Nothing is pulled: ussoauthz's image comes from the
// binaries in bin, Envoy's and Redis's from the binaries that the other tests
// run. Where no Docker engine answers, one is started, which needs root.
package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

func root(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// project is one composition, by whichever compose is there.
type project struct {
	dir     string
	env     []string
	compose []string // the command
}

func (p *project) run(ctx context.Context, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir, command.Env = p.dir, append(os.Environ(), p.env...)
	var out, fault bytes.Buffer
	command.Stdout, command.Stderr = &out, &fault
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, &out, &fault)
	}
	return out.String(), nil
}

func (p *project) do(ctx context.Context, args ...string) (string, error) {
	return p.run(ctx, p.compose[0], append(p.compose[1:len(p.compose):len(p.compose)], args...)...)
}

// The whole file comes up as a user's `docker compose up --build` brings it up,
// and every request of the tour gets its answer.
func TestCompose(t *testing.T) {
	p := &project{dir: root(t), env: []string{"USSOAUTHZ_BUILD_TARGET=prebuilt", "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0"}}
	p.env = append(p.env, engine(t)...)
	p.compose = []string{"docker-compose"}
	if _, err := p.run(t.Context(), "docker", "compose", "version"); err == nil {
		p.compose = []string{"docker", "compose"}
	}
	p.compose = append(p.compose, "-p", "ussoauthz-test-"+strconv.Itoa(os.Getpid()))
	edge := freePort(t)
	p.env = append(p.env, "USSOAUTHZ_EDGE_PORT="+edge, "COMPOSE_PROFILES=redis", "USSOAUTHZ_REDIS_URL=redis://redis:6379")
	loadEnvoy(t, p)
	loadRedis(t, p)

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			logs, err := p.do(ctx, "logs", "--no-color", "--tail=40")
			t.Logf("%s%v", logs, err)
		}
		if _, err := p.do(ctx, "down", "--volumes", "--rmi", "local", "--timeout", "2"); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.do(t.Context(), "--profile", "metrics", "--profile", "traces", "config", "--quiet"); err != nil {
		t.Error(err)
	}
	if _, err := p.do(t.Context(), "up", "--build", "--detach"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "http://127.0.0.1:"+edge)
	takeTour(t, p, "http://127.0.0.1:"+edge)
	revoke(t, p, "http://127.0.0.1:"+edge)
	locked(t, p)
}

// engine returns the environment that finds a Docker engine. One that was
// started has a data root of its own and ends with the test.
func engine(t *testing.T) []string {
	t.Helper()
	if exec.Command("docker", "version").Run() == nil {
		return nil
	}
	if os.Getuid() != 0 {
		t.Fatal("no Docker engine answers, and starting one needs root")
	}
	dir, err := os.MkdirTemp("", "ussoauthz-docker-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	host := "unix://" + filepath.Join(dir, "docker.sock")
	daemon, err := stack.StartProcess("dockerd", &log, nil, "dockerd", "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"), "-H", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Stop(30 * time.Second); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for range 120 {
		if exec.Command("docker", "-H", host, "version").Run() == nil {
			return []string{"DOCKER_HOST=" + host}
		}
		if daemon.Ended() {
			t.Fatalf("dockerd ended at its start:\n%s", &log)
		}
		time.Sleep(250 * time.Millisecond)
	}
	t.Fatal("dockerd does not answer")
	return nil
}

// loadEnvoy gives the engine Envoy's image, of the version that the tests run.
func loadEnvoy(t *testing.T, p *project) {
	t.Helper()
	image := imageOf(t, p, "envoyproxy/envoy")
	if !strings.HasSuffix(image, ":v"+envoybin.Version) {
		t.Fatalf("docker-compose.yaml has the image %q, the tests Envoy %s", image, envoybin.Version)
	}
	binary, err := envoybin.Find(t.Context(), filepath.Join(p.dir, ".cache"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	load(t, p, image, map[string]string{binary: "/usr/local/bin/envoy"})
}

// loadRedis gives it Redis's image, of whichever version is installed.
func loadRedis(t *testing.T, p *project) {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"redis-server", "redis-cli"} {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			t.Fatalf("install redis-server: %v", err)
		}
		files[path] = "/usr/local/bin/" + name
	}
	load(t, p, imageOf(t, p, "redis"), files)
}

// imageOf returns the image of a name that docker-compose.yaml pins.
func imageOf(t *testing.T, p *project, name string) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(p.dir, "docker-compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	image := regexp.MustCompile(`image: (` + name + `:\S+)`).FindStringSubmatch(string(file))
	if image == nil {
		t.Fatalf("docker-compose.yaml has no image %s", name)
	}
	return image[1]
}

var libraries = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// load gives the engine an image by the name of an official one: programs, by
// where they go, and the libraries that they are linked to.
func load(t *testing.T, p *project, image string, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for from, to := range programs {
		seedProgram(t, p, filepath.Join(dir, "root"), from, to)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.run(t.Context(), "docker", "build", "-q", "-t", image, dir); err != nil {
		t.Fatal(err)
	}
}

// seedProgram copies a program and the libraries that it is linked to.
func seedProgram(t *testing.T, p *project, root, from, to string) {
	t.Helper()
	linked, err := p.run(t.Context(), "ldd", from)
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, from, filepath.Join(root, to))
	for _, m := range libraries.FindAllStringSubmatch(linked, -1) {
		copyFile(t, m[1], filepath.Join(root, m[1]))
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // only its number was wanted
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// waitFor polls until Envoy and all behind it answer.
func waitFor(t *testing.T, edge string) {
	t.Helper()
	client := &http.Client{Timeout: time.Second}
	for range 240 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, edge+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "acme.example"
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close() // the status is all
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(250 * time.Millisecond)
	}
	t.Fatal("the stack does not answer")
}

func takeTour(t *testing.T, p *project, edge string) {
	client := &http.Client{Timeout: 10 * time.Second}
	tokens := map[string]string{}
	for n, step := range tour.Steps() {
		token := ""
		if step.Token != nil {
			if _, ok := tokens[step.Token.Name]; !ok {
				tokens[step.Token.Name] = mint(t, p, step.Token)
			}
			token = tokens[step.Token.Name]
		}
		req, err := step.Request(edge, token, n+1)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Echo", "1") // the application shows what reached it
		answer, err := tour.Do(client, req.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if step.Reason == "" {
			step.Status = http.StatusOK
			answer.Seen = seen(t, answer)
		}
		if err := step.Check(answer); err != nil {
			t.Errorf("%d %s: %v", n+1, step.Title, err)
		}
	}
}

// seen reads the application's echo; nil where it is none.
func seen(t *testing.T, a tour.Answer) http.Header {
	t.Helper()
	var echo struct{ Headers map[string][]string }
	if err := json.Unmarshal([]byte(a.Body), &echo); err != nil || echo.Headers == nil {
		return nil
	}
	h := http.Header{}
	for name, values := range echo.Headers {
		h[http.CanonicalHeaderKey(name)] = values
	}
	return h
}

// mint asks the issuer's container, as the file's first lines tell a user to.
func mint(t *testing.T, p *project, token *tour.Token) string {
	t.Helper()
	args := []string{"exec", "-T", "issuer", "/ussodev", "token", "-c", "/demo/ussoauthz.yaml", "--keys", "/keys", "--tenant", token.Tenant, "--sub", token.Subject}
	for _, s := range token.Scopes {
		args = append(args, "--scope", s)
	}
	for _, r := range token.Roles {
		args = append(args, "--role", r)
	}
	if token.Workspace != "" {
		args = append(args, "--workspace", token.Workspace)
	}
	if token.Audience != "" {
		args = append(args, "--audience", token.Audience)
	}
	if token.Company != "" {
		args = append(args, "--claim", "company_id="+token.Company)
	}
	if token.Expired {
		args = append(args, "--expires", "-1h")
	}
	out, err := p.do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// revoke refuses a user's tokens, by the command that the file's first lines
// tell, and waits until Envoy refuses one.
func revoke(t *testing.T, p *project, edge string) {
	t.Helper()
	step := tour.Step{Method: http.MethodGet, Host: "acme.example", Path: "/me", Token: &tour.Token{Tenant: "acme", Subject: "user:alice"}}
	token := mint(t, p, step.Token)
	reason := func() string {
		req, err := step.Request(edge, token, 0)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := tour.Do(http.DefaultClient, req.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status == http.StatusOK {
			return "allowed"
		}
		return answer.Reason()
	}
	if got := reason(); got != "allowed" {
		t.Fatalf("before it is revoked: %s", got)
	}
	if _, err := p.do(t.Context(), "exec", "-T", "ussoauthz", "/ussoauthz", "revoke", "-c", "/demo/ussoauthz.yaml", "--tenant", "acme", "--sub", "user:alice"); err != nil {
		t.Fatal(err)
	}
	got := reason()
	for range 40 {
		if got == "token_revoked" {
			return
		}
		time.Sleep(250 * time.Millisecond)
		got = reason()
	}
	t.Errorf("after it was revoked: %s", got)
}

// locked looks at what runs: nobody is root, writes into an image, or has a
// capability, and everybody tells that it is healthy.
func locked(t *testing.T, p *project) {
	t.Helper()
	ids, err := p.do(t.Context(), "ps", "-q")
	if err != nil {
		t.Fatal(err)
	}
	var running []string
	for _, id := range strings.Fields(ids) {
		c := inspect(t, p, id)
		if !c.State.Running {
			continue
		}
		running = append(running, c.Name)
		if c.Config.User == "" || strings.HasPrefix(c.Config.User, "0") || !c.HostConfig.ReadonlyRootfs || len(c.HostConfig.CapDrop) == 0 {
			t.Errorf("%s: user %q, read-only %t, without %v", c.Name, c.Config.User, c.HostConfig.ReadonlyRootfs, c.HostConfig.CapDrop)
		}
		for range 40 {
			if c.State.Health == nil || c.State.Health.Status == "healthy" {
				break
			}
			time.Sleep(250 * time.Millisecond)
			c = inspect(t, p, id)
		}
		if c.State.Health == nil || c.State.Health.Status != "healthy" {
			t.Errorf("%s: its health is %+v", c.Name, c.State.Health)
		}
	}
	if len(running) != 5 {
		t.Errorf("%v run, want the issuer, ussoauthz, the application, Envoy and Redis", running)
	}
}

// container is what docker tells of one.
type container struct {
	Name   string
	Config struct{ User string }
	State  struct {
		Running bool
		Health  *struct {
			Status string
			Log    []struct{ Output string }
		}
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapDrop        []string
	}
}

func inspect(t *testing.T, p *project, id string) container {
	t.Helper()
	out, err := p.run(t.Context(), "docker", "inspect", id)
	if err != nil {
		t.Fatal(err)
	}
	var list []container
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return list[0]
}
