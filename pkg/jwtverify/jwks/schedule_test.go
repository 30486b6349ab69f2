package jwks_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// lifetimes are Cache-Control values and what they mean; none is nothing said.
const none = time.Duration(-1)

func lifetimes() map[string]time.Duration {
	return map[string]time.Duration{
		"": none, "public": none, "s-maxage=60": none, "max-agent=60": none, "x-max-age=60": none,
		"max-age=60": time.Minute, "Max-Age = 60": time.Minute, "public,max-age=60,immutable": time.Minute,
		`max-age="60"`: time.Minute, "max-age=60, max-age=30": 30 * time.Second,
		`ext="a, max-age=1", max-age=60`: time.Minute, `ext="\", max-age=1", max-age=60`: time.Minute,
		"max-age": 0, "max-age=": 0, "max-age=x": 0, "max-age=-1": 0, "max-age=+1": 0, "max-age=1.5": 0, "max-age=1e30": 0,
		"max-age=0x10": 0, `max-age="`: 0, "no-store": 0, "NO-CACHE, max-age=60": 0, "max-age=60, no-store": 0, `no-cache="x"`: 0,
		"max-age=99999999999999999999": 1 << 31 * time.Second,
	}
}

func TestLifetime(t *testing.T) {
	for value, want := range lifetimes() {
		d, said := jwks.Lifetime(http.Header{"Cache-Control": {value}})
		if !said {
			d = none
		}
		if d != want {
			t.Errorf("Lifetime(%q) = %s: want %s", value, d, want)
		}
	}
	if d, said := jwks.Lifetime(http.Header{"Cache-Control": {"public", "max-age=60"}}); !said || d != time.Minute {
		t.Errorf("two lines: %s, %t", d, said)
	}
}

func FuzzLifetime(f *testing.F) {
	for value := range lifetimes() {
		f.Add(value, "", int64(time.Hour))
		f.Add("public", value, int64(time.Second))
	}
	f.Fuzz(func(t *testing.T, first, second string, ttl int64) {
		d, said := jwks.Lifetime(http.Header{"Cache-Control": {first, second}})
		if d < 0 || d > 1<<31*time.Second || !said && d != 0 {
			t.Fatalf("Lifetime(%q, %q) = %s, %t", first, second, d, said)
		}
		if ttl := time.Duration(ttl); ttl >= time.Second {
			if i := jwks.Interval(d, ttl); i < min(time.Minute, ttl) || i > ttl {
				t.Fatalf("Interval(%s, %s) = %s", d, ttl, i)
			}
		}
	})
}

func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 64: 5 * time.Minute, 1 << 40: 5 * time.Minute,
	} {
		if d := jwks.Backoff(failures); d != want {
			t.Errorf("Backoff(%d) = %s: want %s", failures, d, want)
		}
	}
}

func TestEarlyIsNeverLate(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 10_000 {
		d := jwks.WithJitter(time.Hour)
		if d > time.Hour || d < 54*time.Minute {
			t.Fatalf("Early(1h) = %s", d)
		}
		seen[d] = true
	}
	if len(seen) < 5000 {
		t.Errorf("%d different times", len(seen))
	}
}
