package jwks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// KeyStore keeps remote key sets on disk, so that a restart during an issuer's
// outage has keys. A file is what the issuer sent, when it last vouched for it,
// and a checksum; it serves no longer than it would have served in memory. The
// checksum finds damage. Against somebody who can write into the folder there
// is the folder's mode. It is safe for concurrent use, by several processes too.
type KeyStore struct {
	dir string
	log *slog.Logger

	mu       sync.Mutex      // one writer; never taken on the road of a request
	failed   atomic.Bool     // the last write did, and that was told
	outdated map[string]bool // origins whose file should not be there, which was told; under mu
	faults   atomic.Int64
}

const (
	storeMagic = "ussoauthz keys 1"
	maxMeta    = 8 << 10
	maxSeconds = 253402300799 // the last second of the year 9999
	// maxAhead is how far a clock may have been set back since a file was
	// written. One that is further in the future has no age that can be trusted.
	maxAhead = 5 * time.Minute
)

// OpenKeyStore returns the store in a folder, which it makes where it is
// missing. One that others may write into is refused: whoever can put a file
// there chooses keys. log may be nil.
func OpenKeyStore(dir string, log *slog.Logger) (*KeyStore, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	missing := os.MkdirAll(dir, 0o700) // refuses what is no folder
	info, err := os.Stat(dir)
	switch err := errors.Join(missing, err); {
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s can be written by others (mode %o): chmod 700", dir, info.Mode().Perm())
	}
	return &KeyStore{dir: dir, log: log, outdated: map[string]bool{}}, nil
}

// Failures counts the key sets that could not be written.
func (s *KeyStore) Failures() int64 { return s.faults.Load() }

// kept is a key set on disk.
type kept struct {
	confirmed time.Time // when the issuer last vouched for it, to the second
	body      []byte    // a JWK set
}

func (s *KeyStore) file(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".keys")
}

// load returns what is kept of an origin; nil where nothing is, or nothing that
// can be trusted.
func (s *KeyStore) load(origin string) *kept {
	k, err := readKept(s.file(origin), origin)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a kept key set is not used", slog.String("file", s.file(origin)), slog.String("error", err.Error()))
		}
		return nil
	}
	return k
}

func readKept(name, origin string) (*kept, error) {
	info, err := os.Lstat(name) // a link would lead to a file of another's choice
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file")
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("can be written by others (mode %o)", info.Mode().Perm())
	case !ours(info):
		return nil, errors.New("belongs to another user")
	case info.Size() > jwtverify.MaxKeySetBytes+maxMeta:
		return nil, fmt.Errorf("is larger than %d bytes", jwtverify.MaxKeySetBytes+maxMeta)
	}
	var text []byte
	f, err := os.Open(name)
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, jwtverify.MaxKeySetBytes+maxMeta))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, err
	}
	return parseKept(text, origin)
}

// parseKept reads "magic sum\norigin\nconfirmed\nbody"; sum is that of all that
// follows its line.
func parseKept(text []byte, origin string) (*kept, error) {
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	sum, hasMagic := bytes.CutPrefix(head, []byte(storeMagic+" "))
	if !hasMagic {
		return nil, errors.New("is no key set of this version")
	}
	if want := sha256.Sum256(rest); string(sum) != hex.EncodeToString(want[:]) {
		return nil, errors.New("is damaged: its checksum differs")
	}
	of, rest, _ := bytes.Cut(rest, []byte("\n"))
	if string(of) != strconv.Quote(origin) {
		return nil, errors.New("is of another source")
	}
	seconds, body, ok := bytes.Cut(rest, []byte("\n"))
	at, _ := strconv.ParseInt(string(seconds), 10, 64) // 0, or beyond maxSeconds, where it can't be read
	if !ok || at <= 0 || at > maxSeconds || strconv.FormatInt(at, 10) != string(seconds) {
		return nil, errors.New("does not say when it was fetched")
	}
	return &kept{confirmed: time.Unix(at, 0), body: body}, nil
}

// save writes a key set that its issuer just vouched for, or removes it where
// it has no key any more. Without a body the issuer said that it did not change.
// A file that was confirmed later stays: another instance may use the same
// folder. What fails is counted and told, and is no fault of any request. stored
// says that nothing is missing on the disk; where something is, the next answer
// should bring the whole set.
func (s *KeyStore) save(origin string, snap *snapshot, body []byte) (stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, err := s.write(origin, snap, body)
	switch failed := err != nil; {
	case failed:
		s.faults.Add(1)
		if !s.failed.Swap(true) {
			s.log.Error("key sets can't be kept on disk: a restart while an issuer is down will have no keys",
				slog.String("folder", s.dir), slog.String("error", err.Error()))
		}
	case s.failed.Swap(false):
		s.log.Info("key sets are kept on disk again", slog.String("folder", s.dir))
	}
	outdated := errors.Is(err, errOutdated)
	if outdated && !s.outdated[origin] {
		s.log.Error("an outdated key set can't be removed: remove it, or a restart while its issuer is down will trust keys that were taken away",
			slog.String("file", s.file(origin)), slog.String("error", err.Error()))
	}
	s.outdated[origin] = outdated
	return stored
}

func (s *KeyStore) write(origin string, snap *snapshot, body []byte) (stored bool, err error) {
	name, confirmed := s.file(origin), snap.fetched
	old, unreadable := readKept(name, origin)
	if unreadable == nil && old.confirmed.After(confirmed) && time.Until(old.confirmed) < maxAhead {
		return true, nil
	}
	same := unreadable == nil && sha256.Sum256(old.body) == snap.sum
	if body == nil && same {
		body = old.body
	}
	switch {
	case snap.size() == 0:
		return true, removeFile(name)
	case body == nil: // it vouched for another set than the one here
		return false, removeFile(name)
	}
	err = replaceFile(name, sealKept(origin, kept{confirmed, body}))
	if err != nil && !same {
		// What is there has keys that the issuer may have taken away since.
		err = errors.Join(err, removeFile(name))
	}
	return err == nil || same, err
}

var errOutdated = errors.New("removing an outdated key set")

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errOutdated, err)
	}
	return nil
}

// sealKept writes what parseKept reads.
func sealKept(origin string, k kept) []byte {
	rest := fmt.Appendf(nil, "%q\n%d\n%s", origin, k.confirmed.Unix(), k.body)
	sum := sha256.Sum256(rest)
	return append([]byte(storeMagic+" "+hex.EncodeToString(sum[:])+"\n"), rest...)
}

// replaceFile is seen as the old file or as the new one, whatever ends it.
func replaceFile(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // a full disk must get its bytes back
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// restore makes the snapshot that a source begins with, nil where nothing is
// kept or it is too old. The entity tag is not kept, so that the first good
// answer brings the whole set.
func (s *source) restore(k *kept) *snapshot {
	if k == nil {
		return nil
	}
	age := time.Since(k.confirmed)
	if age < -maxAhead || age > s.cfg.MaxStale {
		return nil
	}
	keys, _, _ := jwtverify.ParseKeySet(k.body) // none where there is an error
	if len(keys) == 0 {
		return nil
	}
	snap := newSnapshot(keys, nil)
	snap.sum = sha256.Sum256(k.body)
	snap.begin(time.Now().Add(-max(0, age)))
	snap.maxStale = s.cfg.MaxStale
	snap.interval = s.cfg.TTL
	return snap
}
