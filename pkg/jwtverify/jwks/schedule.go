package jwks

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// When a key set is fetched again.
//
// After a good fetch the next one comes when the answer's freshness lifetime ends
// (Cache-Control, RFC 9111), bounded below by minInterval, so that no issuer can have
// itself fetched all the time, and above by the TTL of the source, so that a revoked
// key is found in time. Without a lifetime it is the TTL. After n failures in a row it
// is 2^(n-1) seconds, at most maxBackoff. Each time is then shortened by up to a tenth
// at random: thousands of sources that start together, in hundreds of replicas, drift
// apart, and none is later than planned. So in any minute an issuer sees about its
// share of the hour's fetches; TestFleet simulates it.
//
// Between two planned fetches only an unknown kid causes one: see lookupBudget.
const (
	minInterval = time.Minute
	minBackoff  = time.Second
	maxBackoff  = 5 * time.Minute
)

// lifetime returns the freshness lifetime that an answer's Cache-Control gives
// (RFC 9111, 5.2.2); ok is false where it gives none. A value that is not understood
// counts as zero (4.2.1), and of several values the smallest counts.
func lifetime(h http.Header) (d time.Duration, ok bool) {
	d = math.MaxInt64
	for _, line := range h.Values("Cache-Control") {
		for line != "" {
			var directive string
			directive, line = cutDirective(line)
			name, value, _ := strings.Cut(directive, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "no-store", "no-cache":
				return 0, true
			case "max-age":
				d, ok = min(d, deltaSeconds(value)), true
			}
		}
	}
	if !ok {
		return 0, false
	}
	return d, true
}

// cutDirective splits at the first comma that is not in a quoted string.
func cutDirective(s string) (directive, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// deltaSeconds parses delta-seconds (RFC 9111, 1.2.2): digits alone, also in quotes; a
// number that does not fit is 2^31 seconds.
func deltaSeconds(s string) time.Duration {
	s = strings.TrimSpace(s)
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > 1<<31 {
		n = 1 << 31
	}
	return time.Duration(n) * time.Second
}

// clampInterval bounds a freshness lifetime by minInterval and the TTL of a source.
func clampInterval(d, ttl time.Duration) time.Duration {
	return min(max(d, shortestInterval(ttl)), ttl)
}

// shortestInterval is the least time between two planned fetches.
func shortestInterval(ttl time.Duration) time.Duration { return min(minInterval, ttl) }

// backoff is the time until the next fetch after this many failures in a row.
func backoff(failures int) time.Duration {
	if failures > 9 { // 2^9 s is over 5 minutes
		return maxBackoff
	}
	return min(minBackoff<<max(failures-1, 0), maxBackoff)
}

// withJitter shortens a time by up to a tenth at random.
func withJitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/10) // #nosec G404 -- jitter, no secret
}
