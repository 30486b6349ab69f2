package decisionlog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
)

// openFile opens a log file that rotates at 100 bytes.
func openFile(t *testing.T, change func(c *config.DecisionFile)) (f decisionlog.File, name string) {
	t.Helper()
	c := config.DecisionFile{Path: filepath.Join(t.TempDir(), "log"), MaxSize: 100, MaxFiles: 3}
	if change != nil {
		change(&c)
	}
	f, err := decisionlog.OpenFile(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, c.Path
}

func put(t *testing.T, f decisionlog.File, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if lost, err := f.Put(line); lost != 0 || err != nil {
			t.Fatalf("%s: lost %d, %v", line, lost, err)
		}
	}
}

// content returns the files of a folder by name.
func content(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

// No line is cut, none is lost but with the oldest files, and what is not ours stays.
func TestRotation(t *testing.T) {
	f, name := openFile(t, nil)
	for _, other := range []string{".bak", ".20261124", ".20261124T120000.000000000Z.gz"} {
		if err := os.WriteFile(name+other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := strings.Repeat("x", 49) // 50 with its end: two of them fill a file
	for range 11 {
		put(t, f, line)
	}
	files := content(t, filepath.Dir(name))
	if len(files) != 1+3+3 || files["log"] != line+"\n" {
		t.Errorf("%q", files)
	}
	for file, text := range files {
		if strings.HasPrefix(file, "log.2026") && len(file) == len("log.20261124T120000.000000000Z") && text != line+"\n"+line+"\n" {
			t.Errorf("%s: %q", file, text)
		}
	}
	put(t, f, strings.Repeat("y", 500)) // larger than a file: a file of its own
	if got := content(t, filepath.Dir(name))["log"]; len(got) != 501 {
		t.Errorf("%q", got)
	}
}

func TestOldFiles(t *testing.T) {
	f, name := openFile(t, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	old, young := decisionlog.Rotated(name, time.Now().Add(-3*time.Hour)), decisionlog.Rotated(name, time.Now().Add(-time.Minute))
	for _, file := range []string{old, young} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := decisionlog.OpenFile(config.DecisionFile{Path: name, MaxSize: 100, MaxFiles: 3, MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := content(t, filepath.Dir(name))
	if _, there := files[filepath.Base(old)]; there || len(files) != 2 {
		t.Errorf("%q", files)
	}
}

// logrotate moves the file away, with or without a new one in its place, or
// copies and cuts it. A folder that is gone for a while costs what was written
// meanwhile.
func TestRotatedByOthers(t *testing.T) {
	f, name := openFile(t, func(c *config.DecisionFile) { c.MaxSize = 1 << 20 })
	put(t, f, "one")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	put(t, f, "two")
	if err := os.Rename(name, name+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, f, "three")
	for file, want := range map[string]string{"log.1": "one\n", "log.2": "two\n", "log": "theirs\nthree\n"} {
		if got := content(t, filepath.Dir(name))[file]; got != want {
			t.Errorf("%s: %q", file, got)
		}
	}
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	put(t, f, "four")
	if got := content(t, filepath.Dir(name))["log"]; got != "four\n" {
		t.Errorf("%q", got)
	}
	if err := os.RemoveAll(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if lost, err := f.Put("lost"); lost != 1 || err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("lost %d, %v", lost, err)
	}
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, f, "five")
	if got := content(t, filepath.Dir(name))["log"]; got != "five\n" {
		t.Errorf("%q", got)
	}
}

// What can't be written is told at the start, with its name.
func TestUnwritable(t *testing.T) {
	folder := t.TempDir()
	for path, want := range map[string]string{
		folder:             "is no regular file",
		folder + "/a/b":    "no such file",
		folder + "/file/b": "not a directory",
	} {
		if err := os.WriteFile(folder+"/file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := config.Default().DecisionLog
		c.File.Path = path
		if _, err := decisionlog.New(c, decisionlog.Options{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "decision_log.file: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
