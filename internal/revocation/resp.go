package revocation

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Bounds of one answer. The largest that is asked for is a page of entries: some
// thousand members of 4 KiB, and half again where a hash table grows.
const (
	maxAnswer   = 16 << 20 // bytes
	maxElements = 1 << 17  // of all its arrays
	maxDepth    = 8        // arrays in arrays
	maxText     = 4 << 10  // bytes of a line
)

// guarded is a connection to a server whose answers are RESP2 and bounded. The
// library believes a server: it makes room for a string of any length that is
// announced, and calls itself for each array in an array. Both end the process,
// and neither can be recovered from.
type guarded struct {
	net.Conn
	answer answer
}

// Read passes on what is within the bounds. What is beyond them never arrives.
func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.answer.consume(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// answer follows one answer of a server after the other, in whatever pieces
// they arrive.
type answer struct {
	line            []byte // that has no end yet
	skip            int    // bytes of a string that are still to come
	open            []int  // elements that are still to come, of each array around
	bytes, elements int    // so far
	err             error  // the first; nothing is good after it
}

func (a *answer) consume(p []byte) error {
	for len(p) > 0 && a.err == nil {
		if a.skip > 0 {
			n := min(a.skip, len(p))
			p = p[n:]
			if a.skip -= n; a.skip == 0 {
				a.value()
			}
			continue
		}
		end := bytes.IndexByte(p, '\n') + 1
		part := p
		if end > 0 {
			part = p[:end]
		}
		p = p[len(part):]
		if len(a.line)+len(part) > maxText {
			a.err = fmt.Errorf("the server's answer has a line of more than %s", size(maxText))
			break
		}
		if a.line = append(a.line, part...); end > 0 {
			a.err = a.head(a.line)
			a.line = a.line[:0]
		}
	}
	return a.err
}

var errNoRESP = errors.New("the server's answer is no RESP2")

// head takes a line, which is a value or says what follows.
func (a *answer) head(line []byte) error {
	text, whole := bytes.CutSuffix(line, []byte("\r\n"))
	if !whole || len(text) == 0 {
		return errNoRESP
	}
	if a.bytes += len(line); a.bytes > maxAnswer {
		return errLarge()
	}
	switch text[0] {
	case '+', '-', ':':
		a.value()
		return nil
	case '$', '*':
	default:
		return errNoRESP
	}
	n, err := strconv.Atoi(string(text[1:]))
	switch {
	case err != nil || n < -1:
		return errNoRESP
	case n == -1: // none
		a.value()
		return nil
	case text[0] == '$':
		return a.bulk(n)
	}
	return a.array(n)
}

func errLarge() error {
	return fmt.Errorf("the server's answer is larger than %s or %d elements", size(maxAnswer), maxElements)
}

func (a *answer) bulk(n int) error {
	if n > maxAnswer-a.bytes {
		return errLarge()
	}
	a.skip = n + len("\r\n")
	a.bytes += a.skip
	return nil
}

func (a *answer) array(n int) error {
	switch {
	case n > maxElements-a.elements:
		return errLarge()
	case n > 0 && len(a.open) == maxDepth:
		return fmt.Errorf("the server's answer is deeper than %d arrays", maxDepth)
	case n == 0:
		a.value()
		return nil
	}
	a.elements += n
	a.open = append(a.open, n)
	return nil
}

// value ends a value, all arrays that it is the last of, and with the outermost
// the answer.
func (a *answer) value() {
	for len(a.open) > 0 {
		last := len(a.open) - 1
		if a.open[last]--; a.open[last] > 0 {
			return
		}
		a.open = a.open[:last]
	}
	a.bytes, a.elements = 0, 0
}
