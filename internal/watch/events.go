package watch

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// events says when to look. Its channels are nil, and so silent, on a machine
// that gives no events: polling sees the changes, later.
type events struct {
	watcher *fsnotify.Watcher // nil: none
	log     *slog.Logger
	happen  <-chan fsnotify.Event
	lost    <-chan error

	files   map[string]bool // whose writes matter
	folders map[string]bool // in which every write does
	refused map[string]bool // told already
}

func openEvents(log *slog.Logger) *events {
	e := &events{log: log, refused: map[string]bool{}}
	watcher, err := fsnotify.NewWatcher()
	if err != nil { // too many of them on this machine, say
		log.Warn("no file events: looking at the files now and then", slog.String("error", err.Error()))
		return e
	}
	e.watcher, e.happen, e.lost = watcher, watcher.Events, watcher.Errors
	return e
}

func (e *events) close() {
	if e.watcher != nil {
		_ = e.watcher.Close() // nothing is written through it
	}
}

// subscribe asks for the events of every folder that matters, by its real name:
// two names of one folder would share one subscription and its end.
func (e *events) subscribe(paths []string) {
	if e.watcher == nil {
		return
	}
	wanted := e.survey(paths)
	for {
		e.follow(wanted)
		// What came between the survey and its subscriptions told nobody.
		now := e.survey(paths)
		if maps.Equal(now, wanted) {
			return
		}
		wanted = now
	}
}

// follow makes the subscriptions those of the wanted folders.
func (e *events) follow(wanted map[string]bool) {
	for _, folder := range e.watcher.WatchList() {
		if !wanted[folder] {
			_ = e.watcher.Remove(folder) // it may be gone already
		}
	}
	for folder := range wanted {
		// Those that are subscribed too: a folder that was moved away with what
		// holds it still has its subscription, and the new one has none.
		err := e.watcher.Add(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !e.refused[folder] { // gone: the one above tells
			e.refused[folder] = true
			e.log.Warn("no events of a folder: looking at it now and then", slog.String("folder", folder), slog.String("error", err.Error()))
		}
	}
}

// survey finds the folders to subscribe to. For a file that is the folder that
// holds it, and the one that holds what it links to: a file that is replaced by
// a rename takes its own events with it.
func (e *events) survey(paths []string) (wanted map[string]bool) {
	wanted, e.files, e.folders = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, path := range paths {
		holder := existing(filepath.Dir(path))
		wanted[holder] = true
		e.files[filepath.Join(holder, filepath.Base(path))] = true
	}
	visitTree(paths, func(name string, info fs.FileInfo, err error) {
		real, linkErr := filepath.EvalSymlinks(name)
		switch {
		case linkErr != nil || info == nil: // missing: the folder above tells when it comes
		case info.IsDir():
			wanted[real], e.folders[real] = true, true
		default:
			wanted[filepath.Dir(real)], e.files[real] = true, true
		}
	})
	return wanted
}

// existing is the real name of folder, or of the nearest one above it.
func existing(folder string) string {
	for {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			return real
		}
		above := filepath.Dir(folder)
		if above == folder {
			return folder
		}
		folder = above
	}
}

// matters tells whether an event may be a change. A log that is written beside
// the files is none. Whatever comes, goes or is renamed may be part of a link.
func (e *events) matters(event fsnotify.Event) bool {
	return event.Op&^(fsnotify.Write|fsnotify.Chmod) != 0 ||
		e.files[event.Name] || e.folders[filepath.Dir(event.Name)]
}
