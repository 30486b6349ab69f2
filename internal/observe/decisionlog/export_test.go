package decisionlog

import (
	"context"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Apply masks a line.
func Apply(line string, m policy.Mask) (string, error) {
	l := &Log{masks: []policy.Mask{m}}
	text, err := l.maskLine([]byte(line), nil)
	return string(text), err
}

// File is file, for tests of its rotation.
type File struct{ *file }

// OpenFile is openFile.
func OpenFile(cfg config.DecisionFile) (File, error) {
	f, err := openFile(cfg)
	return File{f}, err
}

// Put writes a line.
func (f File) Put(line string) (lost int, err error) {
	return f.write(context.Background(), []byte(line+"\n"), 1)
}

// Close is close.
func (f File) Close() error { return f.close() }

// Rotated is the name that a file rotated at t has.
func Rotated(path string, t time.Time) string {
	return strings.Join([]string{path, t.UTC().Format(stamp)}, ".")
}

// Impatient makes the pauses of the log's service short.
func Impatient(l *Log) {
	for _, p := range l.pipes {
		if s, ok := p.writer.(*service); ok {
			s.pauses = [2]time.Duration{time.Millisecond, 4 * time.Millisecond}
		}
	}
}
