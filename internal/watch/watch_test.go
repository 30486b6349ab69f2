package watch_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
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
	fails atomic.Bool // what is called can't do its work
}

func start(t *testing.T, cfg watch.Config, paths ...string) *running {
	t.Helper()
	cfg.Quiet = 20 * time.Millisecond
	r := &running{Watcher: watch.New(cfg, paths), calls: make(chan struct{}, 100)}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, func(context.Context) bool {
			r.calls <- struct{}{}
			return !r.fails.Load()
		})
	}()
	t.Cleanup(func() {
		stop()
		<-done
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

// A folder without a file is one to watch.
func TestEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "policies", "data", "empty")
	if err := os.MkdirAll(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	r := start(t, watch.Config{Poll: time.Hour}, filepath.Join(dir, "policies"))
	r.quiet(t, "nothing") // the folders are subscribed to by now
	write(t, filepath.Join(empty, "a.json"), "one")
	r.called(t, "the first file")
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

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// The loader of policies follows links, to folders as well; a mount with
// subfolders is made of such links.
func TestLinkedFolders(t *testing.T) {
	dir := t.TempDir()
	policies := filepath.Join(dir, "policies")
	write(t, filepath.Join(dir, "real", "deep", "a.rego"), "one")
	write(t, filepath.Join(policies, "..1", "sub", "b.rego"), "one")
	write(t, filepath.Join(policies, "..2", "sub", "b.rego"), "two")
	link(t, "real", filepath.Join(dir, "linked"))
	link(t, "..1", filepath.Join(policies, "..data"))
	link(t, "..data/sub", filepath.Join(policies, "sub"))
	link(t, "..", filepath.Join(policies, "round")) // no endless way
	r := start(t, watch.Config{Poll: time.Hour}, filepath.Join(dir, "linked"), policies)
	write(t, filepath.Join(dir, "real", "deep", "a.rego"), "two")
	r.called(t, "a write behind a link to a folder")
	link(t, "..2", filepath.Join(policies, "..tmp"))
	rename(t, filepath.Join(policies, "..tmp"), filepath.Join(policies, "..data"))
	r.called(t, "the swap under a linked subfolder")
	write(t, filepath.Join(policies, "..2", "sub", "b.rego"), "three")
	r.called(t, "a write in what the swap brought")
	write(t, filepath.Join(policies, ".hidden", "c.rego"), "one")
	r.quiet(t, "a write in a hidden folder")
}

// A folder is replaced by another one, with what holds it or without.
func TestReplacedFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "release", "policies")
	write(t, filepath.Join(path, "a.rego"), "one")
	r := start(t, watch.Config{Poll: 50 * time.Millisecond}, path)
	write(t, filepath.Join(dir, "next", "policies", "a.rego"), "two")
	rename(t, filepath.Join(dir, "release"), filepath.Join(dir, "old"))
	r.called(t, "the folder above is gone")
	rename(t, filepath.Join(dir, "next"), filepath.Join(dir, "release"))
	r.called(t, "another one came")
	write(t, filepath.Join(path, "a.rego"), "three")
	r.called(t, "a write in it")
}

// What is missing may come with all that holds it.
func TestDeepFolderThatComesLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "c", "d.rego")
	r := start(t, watch.Config{Poll: time.Hour}, path)
	write(t, path, "one")
	r.called(t, "it appeared")
}

// Relative paths, as of "serve -c ussoauthz.yaml".
func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.yaml", "one")
	r := start(t, watch.Config{Poll: time.Hour}, "a.yaml")
	write(t, "a.yaml", "two")
	r.called(t, "a write in place")
}

// A change between New and Run is seen, and one between Watch and the next look.
func TestChangeBeforeRun(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "one")
	write(t, b, "one")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	w := watch.New(watch.Config{Poll: time.Hour}, []string{a})
	write(t, a, "two")
	calls := 0
	w.Run(ctx, func(context.Context) bool {
		if calls++; calls == 1 {
			w.Watch([]string{b})
			write(t, b, "two")
			return true
		}
		stop()
		return true
	})
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

// A call that could not do its work is repeated until it can, with or without
// a change.
func TestFailedCallIsRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	write(t, path, "one")
	r := start(t, watch.Config{Poll: 20 * time.Millisecond}, path)
	r.fails.Store(true)
	write(t, path, "two")
	for range 3 {
		r.called(t, "a change that fails")
	}
	r.fails.Store(false)
	r.Trigger()
	r.called(t, "the trigger")
}

// A file beyond the bound counts with its size.
func TestLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.json")
	write(t, path, "")
	if err := os.Truncate(path, 65<<20); err != nil {
		t.Fatal(err)
	}
	r := start(t, watch.Config{}, path)
	if err := os.Truncate(path, 66<<20); err != nil {
		t.Fatal(err)
	}
	r.called(t, "a change behind the bound")
}

// What gives no event is seen by polling: here a link in the middle of a chain.
func TestPoll(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1", "a.yaml"), "one")
	write(t, filepath.Join(dir, "2", "a.yaml"), "two")
	link(t, "../1", filepath.Join(dir, "releases", "current"))
	path := filepath.Join(dir, "here", "a.yaml")
	link(t, "../releases/current/a.yaml", path)
	r := start(t, watch.Config{Poll: 20 * time.Millisecond}, path)
	link(t, "../2", filepath.Join(dir, "releases", "next"))
	rename(t, filepath.Join(dir, "releases", "next"), filepath.Join(dir, "releases", "current"))
	r.called(t, "a swap in the middle of a chain of links")
}
