package policy

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"
)

// turns has large requests read and evaluated by some of the processors alone: a
// small one must not wait behind megabytes. Each step of a request may wait for a
// processor, for as long as the scheduler lets others run, and has many steps.
// Tenants take turns, so that one that sends much waits for itself.
type turns struct {
	mu    sync.Mutex
	free  int
	lines []*line // of tenants with requests that wait, in order of their turns
}

// line is the requests of a tenant that wait, in order.
type line struct {
	tenant   string
	requests []*waiting
}

// waiting is a request that has no turn yet.
type waiting struct{ granted chan struct{} }

// newTurns leaves half of the processors to small requests.
func newTurns() *turns { return &turns{free: max(1, runtime.GOMAXPROCS(0)/2)} }

var errNoTurn = errors.New("there was no time left behind other large requests")

// wait returns how long it took to get a turn, which end has to follow.
func (t *turns) wait(ctx context.Context, tenant string, limit time.Duration) (time.Duration, error) {
	w := t.enter(tenant)
	if w == nil {
		return 0, nil
	}
	start, timer := time.Now(), time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.granted:
		return time.Since(start), nil
	case <-ctx.Done():
	case <-timer.C:
	}
	if !t.leave(tenant, w) { // it got its turn in the same moment
		t.end()
	}
	return 0, errNoTurn
}

// enter takes a turn, or a place in the tenant's line.
func (t *turns) enter(tenant string) *waiting {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil
	}
	w := &waiting{make(chan struct{})}
	if i := t.find(tenant); i >= 0 {
		t.lines[i].requests = append(t.lines[i].requests, w)
	} else {
		t.lines = append(t.lines, &line{tenant, []*waiting{w}})
	}
	return w
}

func (t *turns) find(tenant string) int {
	return slices.IndexFunc(t.lines, func(l *line) bool { return l.tenant == tenant })
}

// leave gives a place up. It returns false where the turn was granted.
func (t *turns) leave(tenant string, w *waiting) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(tenant)
	if i < 0 {
		return false
	}
	l := t.lines[i]
	j := slices.Index(l.requests, w)
	if j < 0 {
		return false
	}
	if l.requests = slices.Delete(l.requests, j, j+1); len(l.requests) == 0 {
		t.lines = slices.Delete(t.lines, i, i+1)
	}
	return true
}

// end gives the turn to the tenant that is the next.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		t.free++
		return
	}
	l := t.lines[0]
	close(l.requests[0].granted)
	t.lines = slices.Delete(t.lines, 0, 1)
	if l.requests = slices.Delete(l.requests, 0, 1); len(l.requests) > 0 {
		t.lines = append(t.lines, l)
	}
}
