package jwks

import "container/list"

// queue holds the sources that are due, by host. Hosts take turns, so that one
// with thousands of sources, or one that hangs, costs the others nothing but
// its share; and so do two lanes, so that a set that requests wait for need not
// wait for thousands of idle ones, and a flood of such requests does not stop
// the plain refreshes. Every operation is O(1). It is guarded by Fetcher.mu.
type queue struct {
	hosts   map[string]*hostQueue // those with something queued or running
	ready   [lanes]list.List      // of *hostQueue: something in the lane, and a free slot
	last    int                   // the lane that was served last
	perHost int
}

// The lanes: sources that requests wait for, and the others.
const (
	ordinary = iota
	urgent
	lanes
)

type hostQueue struct {
	name    string
	running int
	queued  [lanes]list.List     // of *source
	place   [lanes]*list.Element // in queue.ready
}

// push queues a source that is not queued.
func (q *queue) push(s *source, lane int) {
	h := q.hosts[s.host]
	if h == nil {
		h = &hostQueue{name: s.host}
		q.hosts[s.host] = h
	}
	s.lane, s.place = lane, h.queued[lane].PushBack(s)
	q.settle(h)
}

// hurry moves a queued source to the urgent lane.
func (q *queue) hurry(s *source) {
	if s.lane == urgent {
		return
	}
	q.remove(s)
	q.push(s, urgent)
}

// remove takes a queued source out.
func (q *queue) remove(s *source) {
	h := q.hosts[s.host]
	h.queued[s.lane].Remove(s.place)
	s.place = nil
	q.settle(h)
}

// pop takes the next source and a slot of its host, or returns nil. It leaves
// the ordinary lane alone unless that is allowed.
func (q *queue) pop(allowOrdinary bool) *source {
	lane := urgent - q.last
	if q.ready[lane].Len() == 0 {
		lane = q.last
	}
	if !allowOrdinary {
		lane = urgent
	}
	front := q.ready[lane].Front()
	if front == nil {
		return nil
	}
	q.last = lane
	h := front.Value.(*hostQueue)
	s := h.queued[lane].Remove(h.queued[lane].Front()).(*source)
	s.place = nil
	h.running++
	q.ready[lane].MoveToBack(front)
	q.settle(h)
	return s
}

// release gives the slot of a source's host back.
func (q *queue) release(s *source) {
	h := q.hosts[s.host]
	h.running--
	q.settle(h)
}

// settle puts a host where it belongs after a change.
func (q *queue) settle(h *hostQueue) {
	waiting := 0
	for lane := range h.queued {
		n := h.queued[lane].Len()
		waiting += n
		runnable := n > 0 && h.running < q.perHost
		switch {
		case runnable && h.place[lane] == nil:
			h.place[lane] = q.ready[lane].PushBack(h)
		case !runnable && h.place[lane] != nil:
			q.ready[lane].Remove(h.place[lane])
			h.place[lane] = nil
		}
	}
	if waiting == 0 && h.running == 0 {
		delete(q.hosts, h.name)
	}
}
