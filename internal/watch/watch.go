// Package watch tells when the content of files changes. It looks at content,
// not at events: an event only says when to look. That way a rename, a write in
// place, and the link that Kubernetes swaps under a mounted folder are one and
// the same, and a file that was only touched is no change.
package watch

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Config says how patient a Watcher is.
type Config struct {
	Quiet  time.Duration // without an event, before it looks; 0: 200 ms
	AtMost time.Duration // that a stream of events can keep it from looking; 0: 2 s
	Poll   time.Duration // between looks without any event; 0: 30 s
	Log    *slog.Logger  // nil: none
}

// Watcher watches files, and folders with all that is in them. Make one with
// New, and run it with Run. Its methods are safe for concurrent use.
type Watcher struct {
	cfg     Config
	trigger chan struct{}

	mu        sync.Mutex
	paths     []string
	last      Fingerprint
	truncated bool // the bounds were met, and that was told
}

// New returns a watcher of paths, as they are now: a change from this moment on
// counts, whenever Run begins.
func New(cfg Config, paths []string) *Watcher {
	if cfg.Quiet <= 0 {
		cfg.Quiet = 200 * time.Millisecond
	}
	if cfg.AtMost <= 0 {
		cfg.AtMost = 2 * time.Second
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg, trigger: make(chan struct{}, 1)}
	w.Watch(paths)
	return w
}

// Watch replaces what is watched: a new configuration names other files. A
// change from this moment on counts, so it is called before they are read.
// Where the paths are those of before, nothing happens.
func (w *Watcher) Watch(paths []string) {
	whole := make([]string, len(paths))
	for i, path := range paths {
		whole[i] = path
		if absolute, err := filepath.Abs(path); err == nil { // else the working folder is gone
			whole[i] = absolute
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paths == nil || !slices.Equal(w.paths, whole) {
		w.paths = whole
		w.last = w.readPaths()
	}
}

// readPaths is take, and tells once where it can't see all. mu is held.
func (w *Watcher) readPaths() Fingerprint {
	now, whole := fingerprint(w.paths)
	if !whole && !w.truncated {
		w.cfg.Log.Warn("there are too many files to watch: a change of some will not be seen", slog.Int("watched", maxEntries))
	}
	w.truncated = !whole
	return now
}

// Trigger makes Run call changed whether or not anything changed.
func (w *Watcher) Trigger() {
	select {
	case w.trigger <- struct{}{}:
	default: // one is waiting already
	}
}

// Run calls changed after each change, one call at a time, until ctx ends.
// changed may call Watch and Trigger. It reports whether it could do what it
// does: if not, it is called again at every poll, since what it needs may be
// nothing that is watched.
func (w *Watcher) Run(ctx context.Context, changed func(context.Context) (ok bool)) {
	events := openEvents(w.cfg.Log)
	defer events.close()
	tick := time.NewTicker(w.cfg.Poll)
	defer tick.Stop()
	ok, due, settled := true, false, false
	for ctx.Err() == nil {
		// A folder's events begin with the subscription: what happened in a new
		// one before is found by looking.
		events.subscribe(w.watched())
		if w.changed(ctx, events, settled) || due {
			ok, due, settled = changed(ctx), false, false
			continue // it may watch other files now
		}
		due, settled = w.wait(ctx, events, tick.C, ok)
	}
}

// wait returns when it is time to look. due says that a call is due whatever
// is seen, settled that nothing happened for a while.
func (w *Watcher) wait(ctx context.Context, events *events, tick <-chan time.Time, ok bool) (due, settled bool) {
	for {
		select {
		case <-ctx.Done():
			return false, false
		case event := <-events.happen:
			if events.matters(event) {
				w.waitUntilQuiet(ctx, events)
				return false, true
			}
		case err := <-events.lost:
			w.cfg.Log.Warn("file events were lost", slog.String("error", err.Error()))
			return false, false
		case <-tick:
			return !ok, false
		case <-w.trigger:
			return true, false
		}
	}
}

func (w *Watcher) watched() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths
}

// changed looks, and remembers what it saw. A change that no event announced may
// be half of a write: what counts is what is there after a while.
func (w *Watcher) changed(ctx context.Context, events *events, settled bool) bool {
	before, now := w.compare()
	if now != before && !settled {
		w.waitUntilQuiet(ctx, events)
		_, now = w.compare()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = now
	return now != before
}

func (w *Watcher) compare() (before, now Fingerprint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.readPaths()
}

// waitUntilQuiet waits until nothing happened for a while: an editor and a deployment
// write more than once.
func (w *Watcher) waitUntilQuiet(ctx context.Context, events *events) {
	limit := time.NewTimer(w.cfg.AtMost)
	defer limit.Stop()
	quiet := time.NewTimer(w.cfg.Quiet)
	defer quiet.Stop()
	for {
		select {
		case event := <-events.happen:
			if events.matters(event) {
				quiet.Reset(w.cfg.Quiet)
			}
		case <-events.lost: // they count as one more
			quiet.Reset(w.cfg.Quiet)
		case <-quiet.C:
			return
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
