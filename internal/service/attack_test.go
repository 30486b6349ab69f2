package service_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// victim is a service under attack and somebody who only wants to be served.
type victim struct {
	*running
	issuer     *jwttest.Issuer
	memory     uint64
	goroutines int
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{issuer: newIssuer(t)}
	v.running = start(t, parse(t, v.issuer, ""))
	v.serves(t, "before")
	v.memory, v.goroutines = heap(), runtime.NumGoroutine()
	return v
}

// serves asks on a connection of its own and must be answered at once.
func (v *victim) serves(t *testing.T, when string) {
	t.Helper()
	begun := time.Now()
	conn, err := grpc.NewClient("passthrough:///"+v.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := check(t, conn, mint(t, v.issuer, nil))
	if err != nil || got != "allowed" {
		t.Errorf("%s: %s %v", when, got, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("%s: an answer took %v", when, d)
	}
}

// recovers waits until what the attack held is gone: goroutines, and the memory
// that pools and the end of connections give back in their own time.
func (v *victim) recovers(t *testing.T) {
	t.Helper()
	v.serves(t, "after")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(20 * time.Second); ; <-tick.C {
		goroutines, grown := runtime.NumGoroutine(), int64(heap())-int64(v.memory)
		if goroutines <= v.goroutines+20 && grown <= 8<<20 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%d goroutines stay, %d before, and %d KiB of heap", goroutines, v.goroutines, grown>>10)
		}
	}
}

// within fails the test if the attack holds more than is bearable: what is still
// being read of it is garbage while it is measured, and so it is measured again.
func (v *victim) within(t *testing.T, goroutines int, mib int64) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		n, grown := runtime.NumGoroutine()-v.goroutines, int64(heap())-int64(v.memory)
		t.Logf("under attack: %d goroutines and %d KiB of heap more", n, grown>>10)
		if n <= goroutines && grown <= mib<<20 {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%d goroutines and %d KiB of heap more, want %d and %d MiB at most", n, grown>>10, goroutines, mib)
		}
	}
}

// drained counts what comes until the connection ends.
func drained[T any](c *caller, events <-chan T) <-chan int {
	count := make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-events:
				n++
			case <-c.gone:
				count <- n + len(events)
				return
			}
		}
	}()
	return count
}

// Streams that are begun and reset at once cost their sender as much as us
// (CVE-2023-44487): what they hold never grows with their number.
func TestRapidReset(t *testing.T) {
	v := newVictim(t)
	c := connect(t, v.Address())
	drained(c, c.resets)
	drained(c, c.ends)
	for n := range 100_000 {
		id := c.call()
		c.write(func() error { return c.framer.WriteRSTStream(id, http2.ErrCodeCancel) })
		if n%25_000 == 12_500 {
			v.serves(t, "during the resets")
			v.within(t, 1100, 32)
		}
	}
	c.close()
	v.recovers(t)
}

// Of 100,000 streams that never end each connection holds as many as its bound;
// the others are refused, so that the caller may ask elsewhere, and everybody
// else is served.
func TestOpenStreams(t *testing.T) {
	const attackers, each, bound = 4, 25_000, 1024
	v := newVictim(t)
	var callers []*caller
	var refused []<-chan int
	for range attackers {
		c := connect(t, v.Address())
		callers, refused = append(callers, c), append(refused, drained(c, c.resets))
		for range each {
			c.call()
		}
		c.ping()
		<-c.acks // all of them were read
	}
	v.serves(t, "beside the open streams")
	v.within(t, attackers*bound+100, 64)
	for i, c := range callers {
		c.close()
		if n := <-refused[i]; n != each-bound {
			t.Errorf("%d streams of a connection were refused, want %d", n, each-bound)
		}
	}
	v.recovers(t)
}

// Checks that are never sent to their end hold what was sent of them, and no
// more: of one connection 1024 times limits.max_request_bytes at most, until it
// ends. Others are served meanwhile.
func TestHalfSentChecks(t *testing.T) {
	const streams, sent = 1024, 48 << 10
	v := newVictim(t)
	c := connect(t, v.Address())
	drained(c, c.resets)
	frame := make([]byte, 16<<10)
	for range streams {
		id := c.call()
		for part := range sent / len(frame) {
			data := frame
			if part == 0 {
				data = append(binary.BigEndian.AppendUint32([]byte{0}, 1<<20), frame[5:]...) // of 1 MiB, it says
			}
			c.write(func() error { return c.framer.WriteData(id, false, data) })
		}
	}
	c.ping()
	<-c.acks // all of it was read
	v.serves(t, "beside the half checks")
	v.within(t, streams+100, 2*streams*sent>>20)
	none(t, "GOAWAY", c.goAways)
	c.close()
	v.recovers(t)
}

// A preface that comes a byte at a time has no more time than silence.
func TestSlowPrefaceIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *caller) {
		begun := time.Now()
		go c.read()
		for i := range len(http2.ClientPreface) {
			if _, err := c.conn.Write([]byte(http2.ClientPreface[i : i+1])); err != nil {
				break // the server has enough
			}
			time.Sleep(time.Second)
		}
		<-c.gone
		if d := time.Since(begun); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}
