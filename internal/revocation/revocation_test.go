package revocation_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const all = `{"tenant":"acme","jti":"t1","expires":"2026-03-01T13:00:00Z"}
{"tenant":"acme","session_id":"s1","expires":"2026-03-01T13:00:00Z"}
{"tenant":"acme","sub":"user:1","before":"2026-03-01T11:00:00Z"}
{"tenant":"acme","sub":"user:1","before":"2026-03-01T10:00:00Z"}
{"tenant":"globex","before":"2026-03-01T11:00:00.5Z"}
`

// journal is a log that is written and read at the same time.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// open opens a list of a file of this text.
func open(t *testing.T, text string, change func(*revocation.Config)) (*revocation.List, string, *journal) {
	t.Helper()
	path, log := filepath.Join(t.TempDir(), "revoked.jsonl"), &journal{}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := revocation.Config{File: path, Clock: func() time.Time { return noon }, Log: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&cfg)
	}
	l := revocation.Open(t.Context(), cfg)
	t.Cleanup(l.Close)
	return l, path, log
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(limit) {
			t.Fatal(what)
		}
		time.Sleep(time.Millisecond) // of a poll, not for something to happen
	}
}

func TestRevoked(t *testing.T) {
	l, _, _ := open(t, all, nil)
	early, late := noon.Add(-2*time.Hour), noon.Add(-30*time.Minute)
	for name, c := range map[string]struct {
		tenant string
		id     jwtverify.Identity
		want   bool
	}{
		"another token":            {"acme", jwtverify.Identity{ID: "t2", UserID: "u", IssuedAt: early}, false},
		"jti":                      {"acme", jwtverify.Identity{ID: "t1", UserID: "u", IssuedAt: late}, true},
		"jti of another tenant":    {"initech", jwtverify.Identity{ID: "t1", UserID: "u", IssuedAt: late}, false},
		"a session named as a jti": {"acme", jwtverify.Identity{ID: "s1", SessionID: "t1", UserID: "t1", IssuedAt: late}, false},
		"session":                  {"acme", jwtverify.Identity{SessionID: "s1", UserID: "u", IssuedAt: late}, true},
		"sub":                      {"acme", jwtverify.Identity{Subject: "user:1", UserID: "u", IssuedAt: early}, true},
		"sub as user_id":           {"acme", jwtverify.Identity{Subject: "x", UserID: "user:1", IssuedAt: early}, true},
		"the later of two befores": {"acme", jwtverify.Identity{UserID: "user:1", IssuedAt: noon.Add(-90 * time.Minute)}, true},
		"sub, at the time":         {"acme", jwtverify.Identity{UserID: "user:1", IssuedAt: noon.Add(-time.Hour)}, false},
		"sub, logged in again":     {"acme", jwtverify.Identity{UserID: "user:1", IssuedAt: late}, false},
		"sub, an issuer ahead":     {"acme", jwtverify.Identity{UserID: "user:1", IssuedAt: noon.Add(9*time.Second - time.Hour), Leeway: 10 * time.Second}, true},
		"sub, ahead beyond leeway": {"acme", jwtverify.Identity{UserID: "user:1", IssuedAt: noon.Add(10*time.Second - time.Hour), Leeway: 10 * time.Second}, false},
		"tenant, an issuer ahead":  {"globex", jwtverify.Identity{UserID: "u", IssuedAt: noon.Add(9*time.Second - time.Hour), Leeway: 10 * time.Second}, true},
		"sub without iat":          {"acme", jwtverify.Identity{UserID: "user:1"}, true},
		"tenant":                   {"globex", jwtverify.Identity{UserID: "u", IssuedAt: early}, true},
		"tenant, the same second":  {"globex", jwtverify.Identity{UserID: "u", IssuedAt: noon.Add(-time.Hour)}, true},
		"tenant, later":            {"globex", jwtverify.Identity{UserID: "u", IssuedAt: late}, false},
	} {
		if got, err := l.Revoked(c.tenant, &c.id); got != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A request's lookup allocates nothing, whatever it looks up.
func TestRevokedAllocates(t *testing.T) {
	l, _, _ := open(t, all, func(c *revocation.Config) { c.Deny = true })
	id := &jwtverify.Identity{ID: "t2", SessionID: "s2", Subject: "user:1", UserID: "u", IssuedAt: noon}
	if n := testing.AllocsPerRun(1000, func() {
		if revoked, err := l.Revoked("acme", id); revoked || err != nil {
			t.Error("revoked", err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		`{"tenant":"acme","jti":"a","expires":"2026-03-01T13:00:00Z"}`:                                 "",
		`{"tenant":"acme","jti":"a"}`:                                                                  "has no expires",
		`{"tenant":"acme","session_id":"a"}`:                                                           "has no expires",
		`{"tenant":"acme","sub":"a"}`:                                                                  "has no before",
		`{"tenant":"acme"}`:                                                                            "has no before",
		`{"jti":"a","expires":"2026-03-01T13:00:00Z"}`:                                                 "names no tenant",
		`{"tenant":"acme","sub":"","before":"2026-03-01T13:00:00Z"}`:                                   "has an empty sub",
		`{"tenant":"acme","jti":"","before":"2026-03-01T13:00:00Z"}`:                                   "has an empty jti",
		`{"tenant":"acme","jti":"a","session_id":"b","expires":"2026-03-01T13:00:00Z"}`:                "more than one",
		`{"tenant":"acme","jti":"a","before":"2026-03-01T13:00:00Z","expires":"2026-03-01T13:00:00Z"}`: "has a before",
		`{"tenant":"acme","jti":"a","expires":"2026-03-01"}`:                                           "is no entry",
		`{"tenant":"acme","jti":"a","expires":1772370000}`:                                             "is no entry",
		`{"tenant":"acme","jti":"a","jti":"b","expires":"2026-03-01T13:00:00Z"}`:                       "is no entry",
		`{"tenant":"acme","JTI":"a","expires":"2026-03-01T13:00:00Z"}`:                                 "is no entry",
		`{"tenant":"acme","jti":"a","expires":"2026-03-01T13:00:00Z"} x`:                               "is no entry",
		`{"tenant":"acme","jti":"` + strings.Repeat("a", 1025) + `","expires":"2026-03-01T13:00:00Z"}`: "more than 1024 bytes",
		`{"tenant":"acme","jti":"` + strings.Repeat("a", 5000) + `","expires":"2026-03-01T13:00:00Z"}`: "longer than 4096 bytes",
		`[]`: "is no entry",
		``:   "is no entry",
	} {
		_, err := revocation.Parse([]byte(line))
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", line, err, want)
		}
	}
}

// What is appended is in force within a second, and nothing else changes.
func TestFileIsFollowed(t *testing.T) {
	l, path, _ := open(t, all, nil)
	entries := []revocation.Entry{
		{Tenant: "acme", ID: "new", Expires: noon.Add(time.Hour)},
		{Tenant: "acme", Subject: "user:2", Before: noon},
	}
	for _, e := range entries {
		if err := revocation.Append(path, e); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	revoked := func(id jwtverify.Identity) bool {
		is, err := l.Revoked("acme", &id)
		return is && err == nil
	}
	eventually(t, "it is not revoked", func() bool {
		if !revoked(jwtverify.Identity{ID: "t1", UserID: "u"}) {
			t.Error("an entry that stays was out of force")
		}
		return revoked(jwtverify.Identity{ID: "new", UserID: "u"}) && revoked(jwtverify.Identity{UserID: "user:2"})
	})
	if took := time.Since(start); took > time.Second {
		t.Errorf("in force after %v", took)
	}
}

// A bad line is told with its number and leaves the others in force.
func TestBadLine(t *testing.T) {
	l, _, log := open(t, "{\"tenant\":\"acme\"}\n"+all, nil)
	if revoked, _ := l.Revoked("acme", &jwtverify.Identity{ID: "t1", UserID: "u"}); !revoked {
		t.Error("the other lines are not in force")
	}
	if !strings.Contains(log.String(), "line=1 ") || !strings.Contains(log.String(), "revoked.jsonl") {
		t.Errorf("the log says %s", log)
	}
	if s := l.States()[0]; !s.Available || s.Entries != 4 || s.Dropped != 1 {
		t.Errorf("%+v", s)
	}
}

// A file that vanishes takes nothing out of force; who asked to be denied then is.
func TestFileVanishes(t *testing.T) {
	for _, deny := range []bool{false, true} {
		l, path, _ := open(t, all, func(c *revocation.Config) { c.Deny = deny })
		if err := os.Rename(path, path+"~"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is available still", func() bool { return !l.States()[0].Available })
		if revoked, err := l.Revoked("acme", &jwtverify.Identity{ID: "t1", UserID: "u"}); !revoked || err != nil {
			t.Errorf("deny %v: what is known is not in force: %v %v", deny, revoked, err)
		}
		want := error(nil)
		if deny {
			want = revocation.ErrUnavailable
		}
		if revoked, err := l.Revoked("acme", &jwtverify.Identity{ID: "t2", UserID: "u"}); revoked || err != want {
			t.Errorf("deny %v: %v %v", deny, revoked, err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is not available again", func() bool { return l.States()[0].Available })
	}
}

// Memory is bounded: what is beyond is refused and told, and counts as
// unavailable.
func TestEntriesAreBounded(t *testing.T) {
	l, _, log := open(t, all, func(c *revocation.Config) { c.MaxEntries, c.Deny = 3, true })
	if s := l.States()[0]; s.Available || s.Entries != 3 || s.Dropped != 1 || !strings.Contains(s.Error, "beyond the bound of 3") {
		t.Errorf("%+v", s)
	}
	if _, err := l.Revoked("acme", &jwtverify.Identity{UserID: "u", IssuedAt: noon}); err != revocation.ErrUnavailable {
		t.Errorf("%v", err)
	}
	if !strings.Contains(log.String(), "beyond the bound of 3") {
		t.Errorf("the log says %s", log)
	}
}

// Expired entries leave, though not before a token could be accepted with the
// greatest leeway.
func TestExpiredEntriesLeave(t *testing.T) {
	var now atomic.Pointer[time.Time]
	set := func(at time.Time) { now.Store(&at) }
	set(noon)
	l, path, _ := open(t, all, func(c *revocation.Config) { c.Clock = func() time.Time { return *now.Load() } })
	entries := func() int { l.Sweep(); return l.States()[0].Entries }
	set(noon.Add(time.Hour + revocation.Grace))
	if n := entries(); n != 4 {
		t.Errorf("%d entries at their end", n)
	}
	set(noon.Add(time.Hour + revocation.Grace + time.Second))
	if n := entries(); n != 2 {
		t.Errorf("%d entries after their end", n)
	}
	set(noon.Add(revocation.DefaultLifetime))
	if n := entries(); n != 0 {
		t.Errorf("%d entries after 90 days", n)
	}
	if err := revocation.Append(path, revocation.Entry{Tenant: "acme", ID: "last", Expires: now.Load().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the expired lines count", func() bool { return l.States()[0].Entries == 1 })
}

// Writers at the same time lose nothing.
func TestAppendTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for j := range 10 {
				e := revocation.Entry{Tenant: "acme", ID: string(rune('a'+i)) + string(rune('a'+j)), Expires: noon}
				if err := revocation.Append(path, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(text) {
		e, err := revocation.Parse(bytes.TrimSpace(line))
		if err != nil {
			t.Error(err)
		}
		seen[e.ID] = true
	}
	if len(seen) != 80 {
		t.Errorf("%d entries", len(seen))
	}
}
