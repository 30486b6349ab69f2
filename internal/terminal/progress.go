package terminal

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// showAfter is how long a work may take without a word.
const showAfter = time.Second

// Progress tells on a terminal that a work goes on, once it takes more than a
// second; elsewhere it writes nothing. Call done at the end of the work, before
// anything else is written: it removes the line.
func Progress(w io.Writer, what string) (done func()) {
	if !Is(w) {
		return func() {}
	}
	start, over, gone := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(showAfter)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(w, "\r\x1b[K%s … %ds", what, int(time.Since(start).Seconds()))
				shown = true
			case <-over:
				if shown {
					fmt.Fprint(w, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(over)
		<-gone
	})
}
