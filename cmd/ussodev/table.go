package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ussoio/ussoauthz/internal/dev/tour"
)

// table prints the tour: a row for each request, and under it the command that
// repeats it. Colours are for terminals, and not for those who set NO_COLOR.
type table struct {
	out   io.Writer
	color bool
}

func newTable(out io.Writer) *table {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return &table{out: out}
	}
	info, err := file.Stat()
	return &table{out: out, color: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

const rowFormat = "%3s  %-34s %-8s %-7s %-20s %s\n"

func (t *table) header(edge, tokens string) {
	fmt.Fprintf(t.out, "\nA tour through Envoy at %s. For the curl lines: . %s\n\n", edge, tokens)
	fmt.Fprint(t.out, t.paint(bold, fmt.Sprintf(rowFormat, "#", "request", "tenant", "answer", "reason", "identity that reached the application")))
}

func (t *table) row(n int, s tour.Step, a tour.Answer, wrong error, curl string) {
	tenant := s.Tenant
	if tenant == "" {
		tenant = "-"
	}
	identity := "(it did not reach the application)"
	if a.Seen != nil {
		identity = "none"
		if list := a.Identity(); len(list) > 0 {
			identity = strings.Join(list, ", ")
		}
	}
	style := green
	switch {
	case wrong != nil:
		style = red
	case !strings.HasPrefix(strconv.Itoa(a.Status), "2"):
		style = yellow
	}
	fmt.Fprint(t.out, t.paint(style, fmt.Sprintf(rowFormat, strconv.Itoa(n), s.Title, tenant, strconv.Itoa(a.Status), a.Reason(), identity)))
	fmt.Fprintf(t.out, "     %s\n", t.paint(faint, curl))
	if wrong != nil {
		fmt.Fprintf(t.out, "     NOT EXPECTED: %v\n", wrong)
	}
}

func (t *table) footer(steps, failed int) {
	fmt.Fprintf(t.out, "\n%d requests, %d as expected, %d not\n", steps, steps-failed, failed)
}

const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *table) paint(style, text string) string {
	if !t.color {
		return text
	}
	line, end := strings.CutSuffix(text, "\n")
	text = "\x1b[" + style + "m" + line + "\x1b[0m"
	if end {
		text += "\n"
	}
	return text
}
