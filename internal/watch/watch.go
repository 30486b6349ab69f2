// Package watch tells when the content of files changes. It looks at content,
// not at events: an event only says when to look. That way a rename, a write in
// place, and the link that Kubernetes swaps under a mounted folder are one and
// the same, and a file that was only touched is no change.
package watch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
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

	mu    sync.Mutex
	paths []string
	last  fingerprint
}

// New returns a watcher of paths, as they are now: a change from this moment on
// counts.
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
	paths = slices.Clone(paths)
	return &Watcher{cfg: cfg, trigger: make(chan struct{}, 1), paths: paths, last: take(paths)}
}

// Watch replaces what is watched: a new configuration names other files. Other
// paths than before count as a change: whoever read the files before this call
// may have read what is not there any more.
func (w *Watcher) Watch(paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.paths, paths) {
		w.paths, w.last = slices.Clone(paths), fingerprint{}
	}
}

// Trigger makes Run call changed whether or not anything changed.
func (w *Watcher) Trigger() {
	select {
	case w.trigger <- struct{}{}:
	default: // one is waiting already
	}
}

// Run calls changed after each change, one call at a time, until ctx ends.
// changed may call Watch.
func (w *Watcher) Run(ctx context.Context, changed func(context.Context)) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		// Too many watches on this machine, say. Polling sees it all, later.
		w.cfg.Log.Warn("no file events: looking at the files now and then", slog.String("error", err.Error()))
		return w.poll(ctx, changed)
	}
	defer func() { _ = events.Close() }() // nothing is written through it
	tick := time.NewTicker(w.cfg.Poll)
	defer tick.Stop()
	for forced := false; ; {
		// A folder's events begin with the subscription: what happened in a new
		// one before is found by looking.
		w.subscribe(events)
		if w.moved() || forced {
			changed(ctx)
		}
		forced = false
		select {
		case <-ctx.Done():
			return nil
		case <-events.Events:
			w.settle(ctx, events)
		case err := <-events.Errors:
			w.cfg.Log.Warn("a file event was lost", slog.String("error", err.Error()))
		case <-tick.C:
		case <-w.trigger:
			forced = true
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// poll is Run without events.
func (w *Watcher) poll(ctx context.Context, changed func(context.Context)) error {
	tick := time.NewTicker(w.cfg.Poll)
	defer tick.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.trigger:
			forced = true
		}
		if w.moved() || forced {
			changed(ctx)
		}
	}
}

// moved looks, and remembers what it saw.
func (w *Watcher) moved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := take(w.paths)
	moved := now != w.last
	w.last = now
	return moved
}

// settle waits until nothing happened for a while: an editor and a deployment
// write more than once.
func (w *Watcher) settle(ctx context.Context, events *fsnotify.Watcher) {
	limit := time.NewTimer(w.cfg.AtMost)
	defer limit.Stop()
	quiet := time.NewTimer(w.cfg.Quiet)
	defer quiet.Stop()
	for {
		select {
		case <-events.Events:
			quiet.Reset(w.cfg.Quiet)
		case <-events.Errors: // lost ones count as one more
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

// subscribe asks for the events of every folder that matters. A folder, not a
// file: a file that is replaced by a rename takes its events with it.
func (w *Watcher) subscribe(events *fsnotify.Watcher) {
	w.mu.Lock()
	folders := foldersOf(w.paths)
	w.mu.Unlock()
	have := events.WatchList()
	for _, folder := range have {
		if !slices.Contains(folders, folder) {
			_ = events.Remove(folder) // it may be gone already
		}
	}
	for _, folder := range folders {
		if slices.Contains(have, folder) {
			continue
		}
		if err := events.Add(folder); err != nil { // it is polled all the same
			w.cfg.Log.Debug("no events of a folder", slog.String("folder", folder), slog.String("error", err.Error()))
		}
	}
}
