package jwks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// FetcherConfig holds the limits of a Fetcher. The zero value has good defaults.
type FetcherConfig struct {
	MaxFetches  int           // at a time; a quarter is reserved for requests that wait; 0: 32
	MaxPerHost  int           // of them to one host; 0: 2
	Timeout     time.Duration // of one fetch in all, discovery included; 0: 5 s
	DenyPrivate bool          // refuse private addresses; link-local ones always are
	Store       *KeyStore     // persists key sets over restarts; nil: none
	// Transport replaces the one that checks addresses. For tests. It must obey the
	// request's context.
	Transport http.RoundTripper
	Logger    *slog.Logger // nil: none
}

// Fetcher fetches and refreshes remote key sets. It owns all goroutines and timers of
// its sources. It is safe for concurrent use.
type Fetcher struct {
	cfg    FetcherConfig
	client *http.Client
	log    *slog.Logger
	start  time.Time
	ctx    context.Context // of all fetches; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // running fetches and armed timers

	// mu guards what follows and the marked fields of every source. While it is held
	// nothing waits, logs or takes another lock.
	mu      sync.Mutex
	closed  bool
	sources map[string]*source
	queue   queue
	running [lanes]int
}

// NewFetcher makes a Fetcher. The caller must Close it.
func NewFetcher(cfg FetcherConfig) *Fetcher {
	if cfg.MaxFetches <= 0 {
		cfg.MaxFetches = 32
	}
	if cfg.MaxPerHost <= 0 {
		cfg.MaxPerHost = 2
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport(cfg.DenyPrivate, cfg.MaxPerHost)
	}
	f := &Fetcher{
		cfg:     cfg,
		client:  &http.Client{Transport: cfg.Transport, CheckRedirect: checkRedirect},
		log:     cfg.Logger,
		start:   time.Now(),
		sources: map[string]*source{},
		queue:   queue{hosts: map[string]*hostQueue{}, perHost: cfg.MaxPerHost},
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Open returns the key set of a configuration and queues its first fetch; it does not
// wait for it. Equal configurations share one source, which lives until the last of its
// sets is closed. It returns an error where the configuration is not valid, or the
// Fetcher is closed. The caller must Close the set.
func (f *Fetcher) Open(cfg RemoteConfig) (*RemoteKeySet, error) {
	u, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("opening a remote key set: %w", err)
	}
	id := cfg.sourceID()
	fresh := &source{fetcher: f, id: id, cfg: cfg, url: u, host: hostPort(u)}
	if f.cfg.Store != nil && !f.has(id) { // read before the lock: others must not wait for a disk
		if snap := fresh.restore(f.cfg.Store.load(cfg.origin())); snap != nil {
			fresh.snapshot.Store(snap)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("opening a remote key set: the fetcher is closed")
	}
	s := f.sources[id]
	if s == nil {
		s = fresh
		f.sources[id] = s
		f.enqueue(s, ordinary)
	}
	s.sets++
	return &RemoteKeySet{source: s}, nil
}

func (f *Fetcher) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sources[id] != nil
}

// Close stops all sources and waits until every fetch has ended. Sets that are
// still open go on with the keys that they have, until those are stale. It may be
// called more than once.
func (f *Fetcher) Close() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		f.cancel()
		for _, s := range f.sources {
			f.closeSource(s)
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// StoreFailures counts the key sets that could not be written to the store.
func (f *Fetcher) StoreFailures() int64 {
	if f.cfg.Store == nil {
		return 0
	}
	return f.cfg.Store.Failures()
}

// release closes one set of a source.
func (f *Fetcher) release(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.sets--; s.sets == 0 && !s.closed {
		f.closeSource(s)
		f.dispatch()
	}
}

// closeSource ends a source. mu is held.
func (f *Fetcher) closeSource(s *source) {
	s.closed = true
	delete(f.sources, s.id)
	f.disarm(s)
	s.fetching.Store(false)
	switch s.state {
	case queued:
		f.queue.remove(s)
		s.state = idle
	case running:
		s.cancel() // finish drops the result
	}
	s.wakeWaiters()
}

// enqueue queues an idle source. mu is held.
func (f *Fetcher) enqueue(s *source, lane int) {
	f.disarm(s)
	s.fetching.Store(true) // unknown kids wait for this fetch
	s.state = queued
	f.queue.push(s, lane)
	f.dispatch()
}

// dispatch starts as many fetches as the limits allow. mu is held.
func (f *Fetcher) dispatch() {
	for !f.closed && f.running[ordinary]+f.running[urgent] < f.cfg.MaxFetches {
		s := f.queue.pop(f.running[ordinary] < f.maxOrdinary())
		if s == nil {
			return
		}
		f.running[s.lane]++
		s.state = running
		s.fetches++
		var ctx context.Context
		ctx, s.cancel = context.WithTimeout(f.ctx, f.cfg.Timeout)
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			r := f.fetch(ctx, s)
			if snap := f.finish(s, r); snap != nil && f.cfg.Store != nil {
				s.needBody.Store(!f.cfg.Store.save(s.cfg.origin(), snap, r.body))
			}
		}()
	}
}

// maxOrdinary reserves a quarter of the fetches for sources that requests wait for.
// Otherwise hosts that hang, each its own, would hold all of them until they time out,
// which is longer than a request waits.
func (f *Fetcher) maxOrdinary() int { return max(1, f.cfg.MaxFetches*3/4) }

// finish applies the result of a fetch and plans the next one. It returns the current
// snapshot where the issuer confirmed it in this fetch, else nil.
func (f *Fetcher) finish(s *source, r *result) (confirmed *snapshot) {
	var lines []func() // logged when the lock is released
	log := func(level slog.Level, msg string, attrs ...slog.Attr) {
		lines = append(lines, func() {
			f.log.LogAttrs(f.ctx, level, msg, append(attrs, slog.String("url", redacted(s.url)))...)
		})
	}
	f.mu.Lock()
	s.cancel()
	s.cancel = nil // it holds the context, which thousands of idle sources need not
	s.state = idle
	f.running[s.lane]--
	f.queue.release(s)
	if !s.closed { // else nobody waits for the result any more
		f.arm(s, s.apply(r, log))
		if snap := s.snapshot.Load(); snap != nil && snap.fetched.Equal(r.started) {
			confirmed = snap
		}
		s.requested = nil
		s.fetching.Store(false)
		s.wakeWaiters()
	}
	f.dispatch()
	f.mu.Unlock()
	for _, line := range lines {
		line()
	}
	return confirmed
}

// arm plans the next fetch of an idle source. mu is held. An armed timer counts as work
// of the Fetcher until it ran or was stopped.
func (f *Fetcher) arm(s *source, d time.Duration) {
	s.generation++
	generation := s.generation
	s.due = time.Now().Add(d)
	f.wg.Add(1)
	s.timer = time.AfterFunc(d, func() {
		defer f.wg.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		if s.generation == generation && !s.closed {
			s.timer = nil
			f.enqueue(s, ordinary)
		}
	})
}

// disarm stops the timer, if there is one. mu is held.
func (f *Fetcher) disarm(s *source) {
	s.generation++
	s.due = time.Time{}
	if s.timer != nil && s.timer.Stop() {
		f.wg.Done()
	}
	s.timer = nil
}
