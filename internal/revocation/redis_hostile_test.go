package revocation_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/revocation"
)

// speak makes a server that answers each command as an empty Redis would, but
// for those of one name. "message" is what it sends after it was subscribed to.
// What answer returns ends the connection.
func speak(t *testing.T, name string, answer func(io.Writer) error) (url string) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				_ = converse(c, name, answer) // the other side gave up, as it should
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	return "redis://" + server.Addr().String()
}

func converse(c net.Conn, name string, answer func(io.Writer) error) error {
	in := bufio.NewReader(c)
	for {
		command, err := readCommand(in)
		if err != nil {
			return err
		}
		reply := map[string]string{
			"hello": "-ERR unknown command\r\n", "subscribe": "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "ping": "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
			"info": "$0\r\n\r\n", "zscan": "*2\r\n$1\r\n0\r\n*0\r\n",
		}[command]
		if reply == "" {
			reply = "+OK\r\n"
		}
		if command != name {
			_, err = io.WriteString(c, reply)
		}
		if err == nil && (command == name || command == "subscribe" && name == "message") {
			err = answer(c)
		}
		if err != nil {
			return err
		}
	}
}

// readCommand returns its name, in small letters.
func readCommand(in *bufio.Reader) (string, error) {
	number := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil || len(line) < 2 {
			return 0, fmt.Errorf("no line: %v", err)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	words, err := number()
	name := ""
	for i := range words {
		n, err := number()
		if err != nil {
			return "", err
		}
		word := make([]byte, n+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return "", err
		}
		if i == 0 {
			name = strings.ToLower(string(word[:n]))
		}
	}
	return name, err
}

// endless writes head, and text until nobody listens.
func endless(head, text string) func(io.Writer) error {
	many := []byte(strings.Repeat(text, max(1, 32<<10/max(1, len(text)))))
	return func(w io.Writer) error {
		_, err := io.WriteString(w, head)
		for err == nil && text != "" {
			_, err = w.Write(many)
		}
		if err == nil {
			err = io.EOF
		}
		return err
	}
}

// What a server announces takes no memory, what it nests no stack, and what has
// no end is left, wherever it says it.
func TestRedisIsHostile(t *testing.T) {
	for name, answer := range map[string]func(io.Writer) error{
		"a string of the largest length":     endless("$9223372036854775807\r\n", "x"),
		"one that wraps around":              endless("$9223372036854775806\r\n", "x"),
		"a string of 64 TiB":                 endless("$70368744177664\r\n", "x"),
		"a string of 4 GiB":                  endless("$4294967296\r\n", "x"),
		"an array of 2^46":                   endless("*70368744177664\r\n", "$1\r\nx\r\n"),
		"an array of the largest length":     endless("*9223372036854775807\r\n", "$1\r\nx\r\n"),
		"arrays in arrays":                   endless("", "*1\r\n"),
		"pages of a page":                    endless("*2\r\n$1\r\n0\r\n", "*1\r\n"),
		"many arrays that are large enough":  endless("*131071\r\n", "*131071\r\n"),
		"a page of 2^46":                     endless("*2\r\n$1\r\n0\r\n*70368744177664\r\n", "$1\r\nx\r\n"),
		"a member of 64 TiB":                 endless("*2\r\n$1\r\n0\r\n*2\r\n$70368744177664\r\n", "x"),
		"a message of 64 TiB":                endless("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$70368744177664\r\n", "x"),
		"a message of messages":              endless("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n", "*1\r\n"),
		"a page without an end":              endless("*2\r\n$1\r\n0\r\n*1000000000\r\n", "$1\r\nx\r\n"),
		"strings that are large enough":      endless("*2\r\n$1\r\n0\r\n*1000\r\n", "$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n"),
		"a line without an end":              endless("+", "x"),
		"an error without an end":            endless("-ERR ", "x"),
		"a number without an end":            endless(":", "1"),
		"attributes of attributes, of RESP3": endless("", "|1\r\n"),
		"maps of maps":                       endless("", "%1\r\n"),
		"sets":                               endless("", "~1\r\n"),
		"pushes":                             endless("", ">1\r\n"),
		"a large error":                      endless("!4294967296\r\n", "x"),
		"a verbatim string":                  endless("=4294967296\r\ntxt:", "x"),
		"a streamed string":                  endless("$?\r\n", ";1\r\nx\r\n"),
		"a length with a sign":               endless("$--1\r\n", ""),
		"a length below none":                endless("$-2\r\n", ""),
		"no type":                            endless("\r\n", "\r\n"),
		"a line without a return":            endless("+OK\n", ""),
		"half an answer":                     endless("*2\r\n$1\r\n0\r\n*2\r\n$5\r\nab", ""),
		"zeros":                              endless("", "\x00"),
	} {
		for _, command := range []string{"hello", "subscribe", "message", "info", "zscan"} {
			t.Run(name+" to "+command, func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				var told atomic.Int64
				l, _ := follow(t, speak(t, command, func(w io.Writer) error {
					told.Add(1)
					return answer(w)
				}), nil)
				// A server need not tell about itself: what it says there is forgotten.
				eventually(t, "it is not noticed", func() bool {
					st := l.States()[0]
					return told.Load() > 0 && st.Available == (command == "info") && (st.Error == "") == st.Available
				})
				l.Close()
				runtime.ReadMemStats(&after)
				// All that was ever taken, by both sides, in one or a few attempts.
				if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 96 {
					t.Errorf("%d MiB", took)
				}
			})
		}
	}
}

// A member is garbage up to the bound of an answer; beyond it the set can't be
// read. What is known stays in force either way.
func TestRedisAnswersAreBounded(t *testing.T) {
	for _, c := range []struct {
		name      string
		bytes     int
		available bool
	}{{"within", 16<<20 - 100, true}, {"beyond", 16 << 20, false}} {
		t.Run(c.name, func(t *testing.T) {
			page := fmt.Sprintf("*2\r\n$1\r\n0\r\n*2\r\n$%d\r\n%s\r\n$1\r\n0\r\n", c.bytes, strings.Repeat("x", c.bytes))
			l, _ := follow(t, speak(t, "zscan", func(w io.Writer) error {
				_, err := io.WriteString(w, page)
				return err
			}), nil)
			st := l.States()[0]
			if st.Available != c.available || c.available != (st.Dropped == 1) || strings.Contains(st.Error, "larger than 16 MiB") == c.available {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Somebody who writes is as safe from the server as somebody who reads.
func TestRedisIsHostileToWriters(t *testing.T) {
	for _, command := range []string{"hello", "multi", "zadd", "exec"} {
		start := time.Now()
		err := (revocation.Redis{URL: speak(t, command, endless("", "*1\r\n"))}).Write(t.Context(), entry("x"))
		if err == nil || !strings.Contains(err.Error(), "deeper than") || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// FuzzAnswer: whatever arrives, in pieces of whatever length, is followed as in
// one piece, and nothing goes beyond the bounds.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"+OK\r\n", "-ERR no\r\n:1\r\n", "$3\r\nabc\r\n", "$-1\r\n*-1\r\n", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n+OK\r\n",
		"*0\r\n*1\r\n*0\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "$16777216\r\n", "*131073\r\n", "$+3\r\nabc\r\n", ">1\r\n", "+a\n", "\r\n",
	} {
		f.Add([]byte(seed), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		whole := revocation.Follow(text, len(text)+1)
		pieces := revocation.Follow(text, int(piece)+1)
		if whole != pieces {
			t.Fatalf("%+v in one piece, and %+v in pieces of %d", whole, pieces, piece+1)
		}
		if whole.Depth > 8 || whole.Bytes > 16<<20+len(text) || whole.Elements > 1<<17 {
			t.Fatalf("%+v", whole)
		}
	})
}
