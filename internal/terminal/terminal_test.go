package terminal_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/ussoio/ussoauthz/internal/terminal"
)

func TestColored(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()
	for _, tt := range []struct {
		mode, noColor, term string
		w                   io.Writer
		want                bool
	}{
		{"auto", "", "xterm", tty, true},
		{"auto", "1", "xterm", tty, false},
		{"auto", "", "dumb", tty, false},
		{"never", "", "xterm", tty, false},
		{"auto", "", "xterm", &bytes.Buffer{}, false},
		{"always", "1", "dumb", &bytes.Buffer{}, true},
	} {
		t.Setenv("NO_COLOR", tt.noColor)
		t.Setenv("TERM", tt.term)
		if got := terminal.Colored(tt.mode, tt.w); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestOutcomes(t *testing.T) {
	const report = "a.rego:\ndata.a.test_x: FAIL (1ms)\n  PASS is a word\n----\nPASS: 1/2\nFAIL: 1/2\nDECISIONS PASS: 3/3\n"
	const want = "a.rego:\ndata.a.test_x: \x1b[31mFAIL\x1b[0m (1ms)\n  PASS is a word\n----\n\x1b[32mPASS\x1b[0m: 1/2\n\x1b[31mFAIL\x1b[0m: 1/2\nDECISIONS \x1b[32mPASS\x1b[0m: 3/3\n"
	if got := terminal.Outcomes(true, report); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := terminal.Outcomes(false, report); got != report {
		t.Errorf("%q", got)
	}
}

// A work of more than a second shows, and leaves nothing behind.
func TestProgress(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	done := terminal.Progress(tty, "reading x.yaml")
	shown := make([]byte, 200)
	if err := master.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil && err != os.ErrNoDeadline {
		t.Fatal(err)
	}
	n, err := master.Read(shown)
	if err != nil || !strings.HasPrefix(string(shown[:n]), "\r\x1b[Kreading x.yaml … ") {
		t.Fatalf("%q, %v", shown[:n], err)
	}
	done()
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(master) // it ends with an error: the other end is closed
	if !strings.HasSuffix(string(rest), "\r\x1b[K") {
		t.Errorf("at the end: %q", rest)
	}
	var elsewhere bytes.Buffer
	terminal.Progress(&elsewhere, "x")()
	if elsewhere.Len() > 0 {
		t.Errorf("%q", elsewhere.String())
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"user:älice 日本":        "user:älice 日本",
		"\x1b[31mred\a\n":      "\uFFFD[31mred\uFFFD\uFFFD",
		"a\u202eb\u2028\u0085": "a\uFFFDb\uFFFD\uFFFD",
		"not UTF-8: \xff":      "not UTF-8: \uFFFD",
	} {
		if got := terminal.Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
