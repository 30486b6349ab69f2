package plainpath_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/plainpath"
)

func segments(path string) []string { return strings.Split(path[1:], "/") }

func TestSegments(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/posts": "/posts", "/posts/1": "/posts/1", "/posts/1/": "/posts/1/", "/Posts/ABC": "/posts/abc",
		"/admin;x": "/admin", "/admin;x/y": "/admin/y", "/;x/admin": "/admin", "/admin/;x": "/admin/", "/;": "/",
		"/admin.": "/admin", "/admin . .": "/admin", "/.../admin": "/admin", "/admin/...": "/admin/", "/a./b ": "/a/b",
		"/admin.json": "/admin", "/admin.tar.gz": "/admin", "/admin.json;v=1.0": "/admin", "/admin.json/": "/admin/", "/a.b/c.d": "/a.b/c",
		"/admin.;x.": "/admin", "/admin. .json": "/admin", "/.json": "/", "/admin/.json": "/admin/", "/admin/.json/": "/admin/", "/a.b/...": "/a/",
		"/\u212aEY": "/key", "/A\u017f\u017fETS/X": "/assets/x", "/ADMIN.JSON;x/": "/admin/", "/v1/items/7:Purge": "/v1/items/7:purge",
		"/;a/;b": "/", "/ /.;/": "/", "/a/ /": "/a/",
	} {
		of := segments(path)
		sent := slices.Clone(of)
		if got := "/" + strings.Join(plainpath.Segments(of), "/"); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if !slices.Equal(of, sent) {
			t.Errorf("%s was changed to %q", path, of)
		}
	}
	if got := plainpath.Segments(nil); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	if n := testing.AllocsPerRun(10, func() { plainpath.Segments([]string{"posts", "1"}) }); n > 0 {
		t.Errorf("%v allocations for a path that is plain", n)
	}
}

var (
	parameters = regexp.MustCompile(`;[^/]*`)
	trailing   = regexp.MustCompile(`[. ]+(/|$)`)
	extension  = regexp.MustCompile(`\.[^./]*(/?)$`)
	doubled    = regexp.MustCompile(`//+`)
)

// step is each thing once, on the text of the path.
func step(path string) string {
	path = parameters.ReplaceAllString(path, "")
	path = trailing.ReplaceAllString(path, "$1")
	path = doubled.ReplaceAllString(path, "/")
	path = extension.ReplaceAllString(path, "$1")
	path = doubled.ReplaceAllString(path, "/")
	return plainpath.Fold(path)
}

// The specification: all of it, until nothing changes.
func FuzzSegments(f *testing.F) {
	for _, path := range []string{"/admin", "/Admin.json;v=1/", "/.../a. ;x", "/a.b.c", "/;/", "/\u212a.\u017f", "/.a", "/a/.b/"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		path = "/" + strings.TrimLeft(path, "/")
		if strings.Contains(path, "//") || strings.ContainsAny(path, "\r\n") {
			return // refused before
		}
		want := path
		for next := step(want); next != want; next = step(want) {
			want = next
		}
		got := plainpath.Segments(segments(path))
		if "/"+strings.Join(got, "/") != want {
			t.Fatalf("%q: %q, want %q", path, got, want)
		}
		if again := plainpath.Segments(got); !slices.Equal(again, got) {
			t.Fatalf("%q: %q and then %q", path, got, again)
		}
	})
}

// Eight times the bytes cost no more than some thirty times the time, whatever
// they are; quadratic work would be sixty-four.
func TestSegmentsAreLinear(t *testing.T) {
	for _, of := range []string{"a.", ". ", ";", "A", "\u212a", ".;", " .a"} {
		cost := func(n int) time.Duration {
			path := []string{"x", strings.Repeat(of, n/len(of))}
			start := time.Now()
			for range 10 {
				plainpath.Segments(path)
			}
			return time.Since(start)
		}
		// Quadratic time is 64 times as much in every attempt, a busy machine only in some.
		short, long := time.Hour, time.Hour
		for attempt := 0; attempt < 100 && (attempt < 5 || long > 32*short+time.Millisecond); attempt++ {
			short, long = min(short, cost(8<<10)), min(long, cost(64<<10))
		}
		if long > 32*short+time.Millisecond {
			t.Errorf("%q: %v for 8 KiB, %v for 64 KiB", of, short, long)
		}
	}
}
