package terminal

import (
	"fmt"
	"io"
	"strings"
)

// Bar is a progress bar on a terminal; elsewhere it writes nothing. Its methods
// are called by one goroutine at a time.
type Bar struct {
	Out   io.Writer
	What  string
	Total int
}

const barWidth = 30

// Show draws the bar with n of Total done.
func (b Bar) Show(n int) {
	if b.Total <= 0 || !Is(b.Out) {
		return
	}
	full := min(n, b.Total) * barWidth / b.Total
	fmt.Fprintf(b.Out, "\r\x1b[K%s [%s%s] %d/%d", b.What, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), n, b.Total)
}

// Clear removes the bar.
func (b Bar) Clear() {
	if Is(b.Out) {
		fmt.Fprint(b.Out, "\r\x1b[K")
	}
}
