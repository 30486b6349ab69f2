// Package terminal is what commands do for people at a terminal and leave out
// elsewhere: colour, and a line that tells how far a long work is.
package terminal

import (
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Is tells whether w is a terminal.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Colored tells whether to write colours to w. mode is always, never, or auto:
// on terminals, unless NO_COLOR is set or the terminal can't.
func Colored(mode string, w io.Writer) bool {
	if mode == "always" || mode == "never" {
		return mode == "always"
	}
	return Is(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Style is a colour, or another look, of text.
type Style string

// The styles, as ECMA-48 (SGR) numbers.
const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Paint writes text in a style, or as it is where colored is false.
func (s Style) Paint(colored bool, text string) string {
	if !colored || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// outcome is a word by which a report tells how it went: before a count, or
// behind a test's name.
var outcome = regexp.MustCompile(`(?m)(^|^DECISIONS |: )(PASS|FAIL|ERROR)(: \d| \()`)

// Outcomes paints the words of a report that tell how it went.
func Outcomes(colored bool, report string) string {
	if !colored {
		return report
	}
	report = outcome.ReplaceAllString(report, "$1\x1b["+string(Red)+"m$2\x1b[0m$3")
	return strings.ReplaceAll(report, Red.Paint(true, "PASS"), Green.Paint(true, "PASS"))
}

// Printable keeps what somebody else wrote, a client or a server, from steering
// the terminal: no escape sequences, no lines of its own, no text that runs
// backwards.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
