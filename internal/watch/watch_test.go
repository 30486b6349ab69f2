package watch_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a watcher whose calls a test can wait for.
type running struct {
	*watch.Watcher
	calls chan struct{}
}

func start(t *testing.T, cfg watch.Config, paths ...string) *running {
	t.Helper()
	cfg.Quiet = 20 * time.Millisecond
	r := &running{Watcher: watch.New(cfg, paths), calls: make(chan struct{}, 100)}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, func(context.Context) { r.calls <- struct{}{} }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// called waits for one call.
func (r *running) called(t *testing.T, after string) {
	t.Helper()
	select {
	case <-r.calls:
	case <-time.After(20 * time.Second):
		t.Fatalf("no call after %s", after)
	}
}

// quiet makes sure that nothing is called: a forced call comes after whatever
// was on its way, and must be the only one.
func (r *running) quiet(t *testing.T, after string) {
	t.Helper()
	r.Trigger()
	r.called(t, "the trigger")
	if len(r.calls) > 0 {
		t.Errorf("a call after %s", after)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, "one")
	r := start(t, watch.Config{}, path)
	write(t, path, "two")
	r.called(t, "a write in place")
	write(t, filepath.Join(dir, "new"), "three")
	rename(t, filepath.Join(dir, "new"), path)
	r.called(t, "a rename over it")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.called(t, "its removal")
	write(t, path, "three")
	r.called(t, "its return")
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "policies", "a.rego"), "one")
	r := start(t, watch.Config{}, filepath.Join(dir, "policies"))
	write(t, filepath.Join(dir, "policies", "b.rego"), "one")
	r.called(t, "a new file")
	write(t, filepath.Join(dir, "policies", "deep", "c.rego"), "one")
	r.called(t, "a new folder with a file")
	write(t, filepath.Join(dir, "policies", "deep", "c.rego"), "two")
	r.called(t, "a write in the new folder")
}

func TestFolderThatComesLater(t *testing.T) {
	dir := t.TempDir()
	r := start(t, watch.Config{}, filepath.Join(dir, "policies"))
	write(t, filepath.Join(dir, "policies", "a.rego"), "one")
	r.called(t, "the folder appeared")
}

// Kubernetes mounts a folder of links to ..data/…, and swaps ..data.
func TestKubernetesMount(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..1", "a.yaml"), "one")
	write(t, filepath.Join(dir, "..2", "a.yaml"), "two")
	for link, target := range map[string]string{"..data": "..1", "a.yaml": "..data/a.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, watch.Config{}, filepath.Join(dir, "a.yaml"))
	if err := os.Symlink("..2", filepath.Join(dir, "..tmp")); err != nil {
		t.Fatal(err)
	}
	rename(t, filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))
	r.called(t, "the swap")
}

func TestNoChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, "one")
	r := start(t, watch.Config{}, path)
	if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.quiet(t, "a touch")
	write(t, path, "one")
	r.quiet(t, "the same content")
	write(t, filepath.Join(dir, "other"), "x")
	r.quiet(t, "another file")
	r.quiet(t, "nothing")
}

// A burst of writes is looked at when it is over.
func TestBurst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, "")
	r := start(t, watch.Config{AtMost: time.Hour}, path)
	for i := range 200 {
		write(t, path, string(rune('a'+i%26)))
	}
	r.called(t, "the burst")
	r.Trigger()
	r.called(t, "the trigger")
	if n := len(r.calls); n > 2 { // a slow disk may leave a pause in the burst
		t.Errorf("%d more calls", n)
	}
}

func TestWatchReplacesThePaths(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a", "a.yaml"), filepath.Join(dir, "b", "b.yaml")
	write(t, a, "one")
	write(t, b, "one")
	r := start(t, watch.Config{}, a)
	r.Watch([]string{b})
	r.Trigger() // the folders are asked for after a turn of the loop
	r.called(t, "the trigger")
	write(t, b, "two")
	r.called(t, "a change of the new path")
	write(t, a, "two")
	r.quiet(t, "a change of the old path")
}

// Where events are lost, polling sees the change.
func TestPoll(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere", "a.yaml")
	write(t, target, "one")
	link := filepath.Join(dir, "here", "a.yaml")
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	r := start(t, watch.Config{Poll: 20 * time.Millisecond}, link)
	write(t, target, "two") // its folder is not watched
	r.called(t, "a change behind a link")
}
