package linebuffer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ussoio/ussoauthz/internal/observe/linebuffer"
)

func TestLinesArriveInOrder(t *testing.T) {
	var got bytes.Buffer
	w := linebuffer.NewWriter(&got, 1<<20)
	var want strings.Builder
	for n := range 1000 {
		line := fmt.Sprintln("line", n)
		want.WriteString(line)
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "after the end")
	if want.WriteString("after the end\n"); got.String() != want.String() || w.Dropped() != 0 {
		t.Errorf("%d bytes, want %d; %d dropped", got.Len(), want.Len(), w.Dropped())
	}
}

// counting counts the writes.
type counting struct {
	bytes.Buffer
	writes int
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(b)
}

func TestManyLinesAreOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got counting
		w := linebuffer.NewWriter(&got, 1<<20)
		for range 3 {
			for range 100 {
				fmt.Fprintln(w, "denied")
			}
			time.Sleep(time.Second)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(got.String(), "denied\n"); lines != 300 || got.writes != 3 {
			t.Errorf("%d lines in %d writes, want 300 in 3", lines, got.writes)
		}
	})
}

// stalled is a pipe that nobody reads until open is closed.
type stalled struct {
	bytes.Buffer
	open chan struct{}
}

func (s *stalled) Write(b []byte) (int, error) {
	<-s.open
	return s.Buffer.Write(b)
}

func TestAPipeThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &stalled{open: make(chan struct{})}
		w := linebuffer.NewWriter(to, 100)
		line := []byte("ten bytes\n")
		begun := time.Now()
		for range 5 {
			_, _ = w.Write(line)
		}
		synctest.Wait()
		time.Sleep(time.Second) // these five are on their way
		for range 25 {
			_, _ = w.Write(line)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the writers waited for %v", took-time.Second)
		}
		if w.Dropped() != 15 {
			t.Errorf("%d dropped, want 15", w.Dropped())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closing: %v", err)
		}
		_, _ = w.Write(line) // stalls nobody
		close(to.open)
		synctest.Wait()
		if lines := strings.Count(to.String(), string(line)); lines != 15 || w.Dropped() != 16 {
			t.Errorf("%d lines, %d dropped, want 15 and 16", lines, w.Dropped())
		}
	})
}

// full takes some bytes and then fails, as a full disk does.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	n := min(f.room, len(b))
	f.room -= n
	if n < len(b) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func TestAFullDisk(t *testing.T) {
	w := linebuffer.NewWriter(&full{room: 25}, 1<<20)
	for range 10 {
		fmt.Fprintln(w, "ten bytes")
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.Dropped() != 8 { // two lines, and the half of one that is there
		t.Errorf("%d dropped, want 8", w.Dropped())
	}
}

func TestManyWriters(t *testing.T) {
	var got bytes.Buffer
	w := linebuffer.NewWriter(&got, 1<<20)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 1000 {
				fmt.Fprintln(w, "one whole line")
			}
		})
	}
	writers.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(got.String(), "one whole line\n"); lines != 8000 {
		t.Errorf("%d whole lines, want 8000", lines)
	}
}
