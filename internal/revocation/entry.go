package revocation

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// Entry revokes one token (ID), the tokens of one session (Session), or those
// that a subject, or with nobody named a whole tenant, got before a time.
type Entry struct {
	Tenant  string    `json:"tenant"` // the configuration's id, not the token's claim
	ID      string    `json:"jti,omitempty"`
	Session string    `json:"session_id,omitempty"`
	Subject string    `json:"sub,omitempty"` // sub or user_id
	Before  time.Time `json:"before,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

const (
	// DefaultLifetime is how long an entry stays after its Before, or after it
	// was written, where nothing else is said.
	DefaultLifetime = 90 * 24 * time.Hour

	maxLine  = 4 << 10 // bytes of an entry
	maxValue = 1 << 10 // bytes of a name in it
)

// Parse reads an entry as Line writes it. It is strict: an unknown or repeated
// key is an error, and so is an empty name, which would otherwise turn the entry
// of a session into one of a whole tenant.
func Parse(line []byte) (Entry, error) {
	if len(line) > maxLine {
		return Entry{}, fmt.Errorf("is longer than %d bytes", maxLine)
	}
	var in struct {
		Tenant  string     `json:"tenant"`
		ID      *string    `json:"jti"`
		Session *string    `json:"session_id"`
		Subject *string    `json:"sub"`
		Before  *time.Time `json:"before"`
		Expires *time.Time `json:"expires"`
	}
	if err := json.Unmarshal(line, &in, json.RejectUnknownMembers(true)); err != nil {
		return Entry{}, fmt.Errorf("is no entry: %w", err)
	}
	e := Entry{Tenant: in.Tenant}
	for _, name := range []struct {
		key   string
		value *string
		to    *string
	}{{"jti", in.ID, &e.ID}, {"session_id", in.Session, &e.Session}, {"sub", in.Subject, &e.Subject}} {
		if name.value != nil && *name.value == "" {
			return Entry{}, fmt.Errorf("has an empty %s", name.key)
		} else if name.value != nil {
			*name.to = *name.value
		}
	}
	if in.Before != nil {
		e.Before = *in.Before
	}
	if in.Expires != nil {
		e.Expires = *in.Expires
	}
	return e.Checked()
}

// Checked returns the entry with its defaults, in UTC, or what is wrong with it.
func (e Entry) Checked() (Entry, error) {
	named := 0
	for _, value := range []string{e.ID, e.Session, e.Subject} {
		if value != "" {
			named++
		}
		if len(value) > maxValue {
			return Entry{}, fmt.Errorf("holds a name of more than %d bytes", maxValue)
		}
	}
	timed := e.ID == "" && e.Session == ""
	switch {
	case e.Tenant == "" || len(e.Tenant) > maxValue:
		return Entry{}, errors.New("names no tenant")
	case named > 1:
		return Entry{}, errors.New("names more than one of jti, session_id and sub: write an entry for each")
	case timed && e.Before.IsZero():
		return Entry{}, errors.New("has no before: the tokens issued before it are revoked")
	case !timed && !e.Before.IsZero():
		return Entry{}, errors.New("has a before, which goes with sub or with the tenant alone")
	case !timed && e.Expires.IsZero():
		return Entry{}, errors.New("has no expires: write when the token ends, so that the entry can go")
	case e.Expires.IsZero():
		e.Expires = e.Before.Add(DefaultLifetime)
	}
	e.Before, e.Expires = e.Before.UTC(), e.Expires.UTC()
	return e, nil
}

// Line returns the entry as JSON without a line's end. Equal entries have equal
// lines, and every line can be parsed.
func (e Entry) Line() ([]byte, error) {
	line, err := json.Marshal(e, json.Deterministic(true))
	if err == nil && len(line) > maxLine { // names full of what JSON escapes
		return nil, fmt.Errorf("the entry is longer than %d bytes", maxLine)
	}
	return line, err
}

// checkedLine is Checked, and its Line: what a writer writes.
func (e Entry) checkedLine() (Entry, []byte, error) {
	e, err := e.Checked()
	if err != nil {
		return e, nil, fmt.Errorf("the entry %w", err)
	}
	line, err := e.Line()
	return e, line, err
}

func (e Entry) key() key {
	switch {
	case e.ID != "":
		return key{e.Tenant, token, e.ID}
	case e.Session != "":
		return key{e.Tenant, session, e.Session}
	case e.Subject != "":
		return key{e.Tenant, subject, e.Subject}
	}
	return key{tenant: e.Tenant, kind: tenant}
}

// value of an entry: both in microseconds, which have room for any year.
func (e Entry) value() value {
	v := value{expires: e.Expires.UnixMicro()}
	if !e.Before.IsZero() {
		v.before = e.Before.UnixMicro()
	}
	return v
}
