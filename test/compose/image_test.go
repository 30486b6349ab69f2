//go:build compose

package compose

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const maxImage = 40 << 20

// The image that `docker build .` compiles from a checkout, and the one that
// compose builds: what is in them, what they say of themselves, and that the
// first, locked as an operator would lock it, turns healthy.
func TestImageFromSource(t *testing.T) {
	p := &project{dir: checkout(t), env: append(engine(t), "DOCKER_BUILDKIT=0")}
	loadGo(t, p)
	name := "ussoauthz-test-" + strconv.Itoa(os.Getpid())
	for target, files := range map[string][]string{
		"":     {"LICENSE", "NOTICES", "ussoauthz"},
		"full": {"LICENSE", "NOTICES", "ussoauthz", "ussodev"},
	} {
		image := name + ":service" + target
		args := []string{"build", "-q", "-t", image, "--build-arg", "VERSION=v0.0.0-test", "--build-arg", "REVISION=abc"}
		if target != "" {
			args = append(args, "--target", target)
		}
		if _, err := p.run(t.Context(), "docker", append(args, ".")...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if out, err := docker(p, "rmi", "--force", image); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		want := append(files, "etc/ssl/certs/ca-certificates.crt")
		slices.Sort(want)
		if got := content(t, p, image); !slices.Equal(got, want) {
			t.Errorf("%s holds %v, want %v", image, got, want)
		}
		told(t, p, image, target == "")
	}
	runs(t, p, name+":service")
}

// docker runs it without a context that ends before what it cleans up.
func docker(p *project, args ...string) ([]byte, error) {
	command := exec.Command("docker", args...)
	command.Env = append(os.Environ(), p.env...)
	return command.CombinedOutput()
}

// checkout is what a fresh clone has: the files that git knows, and no bin.
func checkout(t *testing.T) string {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = root(t)
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range strings.Split(strings.Trim(string(names), "\x00"), "\x00") {
		copyFile(t, filepath.Join(root(t), name), filepath.Join(dir, name))
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return // git knows it still
	}
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(from)
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, info.Mode().Perm())); err != nil {
		t.Fatal(err)
	}
}

// loadGo gives the engine the image that the Dockerfile compiles in: this
// machine's Go and the few programs that make calls, with a module proxy in a
// folder that holds what go.mod names.
func loadGo(t *testing.T, p *project) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(p.dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, image, _ := strings.Cut(string(file), "\nFROM golang:")
	image, _, found := strings.Cut(image, " AS source\n")
	if !found {
		t.Fatal("the Dockerfile has no stage that compiles")
	}
	if version, err := p.run(t.Context(), "go", "env", "GOVERSION"); err != nil || !strings.HasPrefix(version, "go"+image+".") {
		t.Fatalf("the Dockerfile compiles with Go %s, the tests with %s: %v", image, version, err)
	}
	dir := t.TempDir()
	seed := filepath.Join(dir, "root")
	goroot, err := p.run(t.Context(), "go", "env", "GOROOT")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(seed, "usr/local/go"), os.DirFS(strings.TrimSpace(goroot))); err != nil {
		t.Fatal(err)
	}
	modules, err := p.run(t.Context(), "go", "mod", "download", "-json")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := p.run(t.Context(), "go", "env", "GOMODCACHE")
	if err != nil {
		t.Fatal(err)
	}
	proxy := filepath.Join(strings.TrimSpace(cache), "cache/download")
	needed := map[string]bool{}
	for list := json.NewDecoder(strings.NewReader(modules)); ; {
		var m struct{ Zip string }
		err := list.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		needed[m.Zip] = true
	}
	// Those that are needed, and for the choice among versions every go.mod.
	err = filepath.WalkDir(proxy, func(path string, file fs.DirEntry, err error) error {
		if err != nil || file.IsDir() || !needed[path] && filepath.Ext(path) != ".mod" && filepath.Ext(path) != ".info" {
			return err
		}
		inside, err := filepath.Rel(proxy, path)
		copyFile(t, path, filepath.Join(seed, "proxy", inside))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, "/etc/ssl/certs/ca-certificates.crt", filepath.Join(seed, "etc/ssl/certs/ca-certificates.crt"))
	for _, program := range []string{"sh", "make", "cat", "find", "sort", "mkdir"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		seedProgram(t, p, seed, path, filepath.Join("/bin", program))
	}
	if err := os.Mkdir(filepath.Join(seed, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	dockerfile := "FROM scratch\nCOPY root /\nENV PATH=/usr/local/go/bin:/bin GOPROXY=file:///proxy GOSUMDB=off GOTOOLCHAIN=local HOME=/tmp\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.run(t.Context(), "docker", "build", "-q", "-t", "golang:"+image, dir); err != nil {
		t.Fatal(err)
	}
}

// content lists the files of an image, but for what the engine adds to each.
func content(t *testing.T, p *project, image string) []string {
	t.Helper()
	id, err := p.run(t.Context(), "docker", "create", image)
	if err != nil {
		t.Fatal(err)
	}
	id = strings.TrimSpace(id)
	defer func() {
		if out, err := docker(p, "rm", id); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	archive, err := p.run(t.Context(), "docker", "export", id)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Name {
		case ".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf":
			continue
		}
		if h.FileInfo().IsDir() {
			continue
		}
		if h.Mode&0o222&^0o200 != 0 || h.Mode&0o6000 != 0 || h.Uid != 0 {
			t.Errorf("%s: %s has mode %o and owner %d", image, h.Name, h.Mode, h.Uid)
		}
		if h.Name == "NOTICES" {
			notices(t, r)
		}
		files = append(files, h.Name)
	}
	slices.Sort(files)
	return files
}

func notices(t *testing.T, r io.Reader) {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("==== Go\n")) || !bytes.Contains(text, []byte("==== github.com/open-policy-agent/opa v")) {
		t.Errorf("NOTICES has %d bytes and not what is linked", len(text))
	}
}

// told checks what an image says of itself.
func told(t *testing.T, p *project, image string, service bool) {
	t.Helper()
	out, err := p.run(t.Context(), "docker", "image", "inspect", image)
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Size   int64
		Config struct {
			User        string
			Entrypoint  []string
			Labels      map[string]string
			Healthcheck struct{ Test []string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	i := list[0]
	t.Logf("%s: %.1f MiB", image, float64(i.Size)/(1<<20))
	if service && i.Size > maxImage {
		t.Errorf("%s has %d bytes, more than %d", image, i.Size, maxImage)
	}
	if i.Config.User != "65532:65532" || !slices.Equal(i.Config.Entrypoint, []string{"/ussoauthz"}) ||
		!slices.Equal(i.Config.Healthcheck.Test, []string{"CMD", "/ussoauthz", "health"}) {
		t.Errorf("%s: %+v", image, i.Config)
	}
	for label, want := range map[string]string{"title": "ussoauthz", "version": "v0.0.0-test", "revision": "abc", "licenses": "Apache-2.0", "source": "https://github.com/ussoio/ussoauthz"} {
		if got := i.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("%s: its label %s is %q, want %q", image, label, got, want)
		}
	}
}

// runs starts an image with nothing that it could write to, and nothing that it
// might do, and waits for its own health check.
func runs(t *testing.T, p *project, image string) {
	t.Helper()
	if out, err := p.run(t.Context(), "docker", "run", "--rm", image, "version"); err != nil || !strings.Contains(out, "v0.0.0-test") {
		t.Errorf("its version: %v: %s", err, out)
	}
	id, err := p.run(t.Context(), "docker", "run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--env", "USSO_JWKS_URL=https://127.0.0.1:1/jwks.json", "--env", "USSO_ISSUER=https://sso.example", "--env", "USSO_AUDIENCE=app", image, "serve")
	if err != nil {
		t.Fatal(err)
	}
	id = strings.TrimSpace(id)
	defer func() {
		if out, err := docker(p, "rm", "--force", id); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	c := inspect(t, p, id)
	for range 120 { // it is asked every ten seconds
		if c.State.Running && c.State.Health != nil && c.State.Health.Status == "healthy" {
			return
		}
		time.Sleep(250 * time.Millisecond)
		c = inspect(t, p, id)
	}
	logs, err := docker(p, "logs", id)
	t.Errorf("it does not turn healthy: %s\n%s%v", fmt.Sprint(c.State.Health), logs, err)
}
