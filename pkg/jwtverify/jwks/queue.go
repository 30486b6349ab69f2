package jwks

import "container/list"

// queue holds the sources that are due, by host. Hosts take turns, so that a host with
// thousands of sources, or one that hangs, delays the others by its share alone. Two
// lanes take turns as well: a set that requests wait for overtakes thousands of
// planned refreshes, and a flood of such requests does not stop the refreshes.
//
// A host stands in ready[lane] exactly while it has a source queued in that lane and
// runs fewer than perHost fetches; update restores this after every change. So every
// operation is O(1). Fetcher.mu guards it.
type queue struct {
	hosts    map[string]*hostQueue // those with a source queued or running
	ready    [lanes]list.List      // of *hostQueue
	lastLane int                   // the lane that was served last
	perHost  int
}

// The lanes: ordinary for planned fetches, urgent for sources that requests wait for.
const (
	ordinary = iota
	urgent
	lanes
)

type hostQueue struct {
	name    string
	running int
	queued  [lanes]list.List     // of *source
	ready   [lanes]*list.Element // in queue.ready; nil: not there
}

// push queues a source that is not queued.
func (q *queue) push(s *source, lane int) {
	h := q.hosts[s.host]
	if h == nil {
		h = &hostQueue{name: s.host}
		q.hosts[s.host] = h
	}
	s.lane, s.element = lane, h.queued[lane].PushBack(s)
	q.update(h)
}

// promote moves a queued source to the urgent lane.
func (q *queue) promote(s *source) {
	if s.lane == urgent {
		return
	}
	q.remove(s)
	q.push(s, urgent)
}

// remove removes a queued source.
func (q *queue) remove(s *source) {
	h := q.hosts[s.host]
	h.queued[s.lane].Remove(s.element)
	s.element = nil
	q.update(h)
}

// pop removes the next source and counts it as running at its host; nil where none can
// run. Without allowOrdinary it serves the urgent lane alone.
func (q *queue) pop(allowOrdinary bool) *source {
	lane := urgent - q.lastLane // the other one
	if q.ready[lane].Len() == 0 {
		lane = q.lastLane
	}
	if !allowOrdinary {
		lane = urgent
	}
	front := q.ready[lane].Front()
	if front == nil {
		return nil
	}
	q.lastLane = lane
	h := front.Value.(*hostQueue)
	s := h.queued[lane].Remove(h.queued[lane].Front()).(*source)
	s.element = nil
	h.running++
	q.ready[lane].MoveToBack(front)
	q.update(h)
	return s
}

// release ends the running fetch of a source at its host.
func (q *queue) release(s *source) {
	h := q.hosts[s.host]
	h.running--
	q.update(h)
}

// update puts a host into the ready lists, or removes it from them, as its queues and
// its running fetches now require.
func (q *queue) update(h *hostQueue) {
	waiting := 0
	for lane := range h.queued {
		n := h.queued[lane].Len()
		waiting += n
		runnable := n > 0 && h.running < q.perHost
		switch {
		case runnable && h.ready[lane] == nil:
			h.ready[lane] = q.ready[lane].PushBack(h)
		case !runnable && h.ready[lane] != nil:
			q.ready[lane].Remove(h.ready[lane])
			h.ready[lane] = nil
		}
	}
	if waiting == 0 && h.running == 0 {
		delete(q.hosts, h.name)
	}
}
