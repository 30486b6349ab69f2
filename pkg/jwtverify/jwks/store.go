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

// KeyStore persists remote key sets, so that a restart while an issuer is down has
// keys. A file holds what the issuer sent, when it last confirmed it, and a checksum; it
// is used no longer than the set would have been used in memory. The checksum detects
// damage; the mode of the folder protects against others who could write into it. It is
// safe for concurrent use, also by several processes.
type KeyStore struct {
	dir string
	log *slog.Logger

	mu       sync.Mutex      // one writer; no request takes it
	failing  atomic.Bool     // the last write failed, and that was logged
	outdated map[string]bool // origins whose file could not be removed, which was logged; under mu
	failures atomic.Int64
}

const (
	storeMagic    = "ussoauthz keys 1"
	maxStoredMeta = 8 << 10
	maxTime       = 253402300799 // the last second of the year 9999, in Unix seconds
	// maxClockSkew is how far a clock may have been set back since a file was
	// written. The age of a file from further in the future is not known.
	maxClockSkew = 5 * time.Minute
)

// OpenKeyStore returns the store in a folder, which it makes where it is missing, with
// mode 0700. A folder that others may write into is an error: whoever can put a file
// there chooses keys. log may be nil.
func OpenKeyStore(dir string, log *slog.Logger) (*KeyStore, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	made := os.MkdirAll(dir, 0o700) // an error where dir is a file
	info, err := os.Stat(dir)
	switch err := errors.Join(made, err); {
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s can be written by others (mode %o): chmod 700", dir, info.Mode().Perm())
	}
	return &KeyStore{dir: dir, log: log, outdated: map[string]bool{}}, nil
}

// Failures counts the key sets that could not be written.
func (s *KeyStore) Failures() int64 { return s.failures.Load() }

// storedSet is a key set on disk.
type storedSet struct {
	confirmed time.Time // when the issuer last sent or confirmed it, to the second
	body      []byte    // a JWK set
}

func (s *KeyStore) file(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".keys")
}

// load returns the stored set of an origin; nil where there is none, or none that can
// be trusted.
func (s *KeyStore) load(origin string) *storedSet {
	set, err := readStored(s.file(origin), origin)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a stored key set is not used", slog.String("file", s.file(origin)), slog.String("error", err.Error()))
		}
		return nil
	}
	return set
}

func readStored(name, origin string) (*storedSet, error) {
	info, err := os.Lstat(name) // a link would lead to a file of another's choice
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file")
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("can be written by others (mode %o)", info.Mode().Perm())
	case !trustedOwner(info):
		return nil, errors.New("belongs to another user")
	case info.Size() > jwtverify.MaxKeySetBytes+maxStoredMeta:
		return nil, fmt.Errorf("is larger than %d bytes", jwtverify.MaxKeySetBytes+maxStoredMeta)
	}
	var text []byte
	f, err := os.Open(name)
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(f, jwtverify.MaxKeySetBytes+maxStoredMeta))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, err
	}
	return decodeStored(text, origin)
}

// decodeStored parses "magic sum\norigin\nconfirmed\nbody"; sum is the SHA-256 of
// everything after its line.
func decodeStored(text []byte, origin string) (*storedSet, error) {
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
	at, _ := strconv.ParseInt(string(seconds), 10, 64) // out of the bounds below where it cannot be parsed
	if !ok || at <= 0 || at > maxTime || strconv.FormatInt(at, 10) != string(seconds) {
		return nil, errors.New("does not say when it was fetched")
	}
	return &storedSet{confirmed: time.Unix(at, 0), body: body}, nil
}

// save writes a key set that its issuer just sent or confirmed, or removes its file
// where the set has no key any more. A nil body means that the issuer confirmed the set
// without sending it. A file that was confirmed later stays: another instance may use
// the same folder. Failures are counted and logged, and fail no request. stored says
// that the disk has the set; where it has not, the next fetch should ask for the body.
func (s *KeyStore) save(origin string, snap *snapshot, body []byte) (stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, err := s.write(origin, snap, body)
	if err != nil {
		s.failures.Add(1)
		if !s.failing.Swap(true) {
			s.log.Error("key sets can't be stored on disk: a restart while an issuer is down will have no keys",
				slog.String("folder", s.dir), slog.String("error", err.Error()))
		}
	} else if s.failing.Swap(false) {
		s.log.Info("key sets are stored on disk again", slog.String("folder", s.dir))
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
	old, unreadable := readStored(name, origin)
	if unreadable == nil && old.confirmed.After(confirmed) && time.Until(old.confirmed) < maxClockSkew {
		return true, nil
	}
	same := unreadable == nil && sha256.Sum256(old.body) == snap.sum
	if body == nil && same {
		body = old.body
	}
	switch {
	case snap.size() == 0:
		return true, removeFile(name)
	case body == nil: // the issuer confirmed another set than the one here
		return false, removeFile(name)
	}
	err = replaceFile(name, encodeStored(origin, storedSet{confirmed, body}))
	if err != nil && !same {
		// The old file has keys that the issuer may have removed since.
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

// encodeStored writes what decodeStored parses.
func encodeStored(origin string, set storedSet) []byte {
	rest := fmt.Appendf(nil, "%q\n%d\n%s", origin, set.confirmed.Unix(), set.body)
	sum := sha256.Sum256(rest)
	return append([]byte(storeMagic+" "+hex.EncodeToString(sum[:])+"\n"), rest...)
}

// replaceFile writes a file so that a reader, and a crash at any time, finds the old
// content or the new one.
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

// restore makes the first snapshot of a source from a stored set; nil where there is
// none, or it is too old. The entity tag is not stored, so that the first good answer
// brings the whole set.
func (s *source) restore(set *storedSet) *snapshot {
	if set == nil {
		return nil
	}
	age := time.Since(set.confirmed)
	if age < -maxClockSkew || age > s.cfg.MaxStale {
		return nil
	}
	keys, _, _ := jwtverify.ParseKeySet(set.body) // none where there is an error
	if len(keys) == 0 {
		return nil
	}
	snap := newSnapshot(keys, nil)
	snap.sum = sha256.Sum256(set.body)
	snap.setFetched(time.Now().Add(-max(0, age)))
	snap.maxStale = s.cfg.MaxStale
	snap.interval = s.cfg.TTL
	return snap
}
