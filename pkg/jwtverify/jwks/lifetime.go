package jwks

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minInterval = time.Minute
	minBackoff  = time.Second
	maxBackoff  = 5 * time.Minute
)

// lifetime reads how long an answer is fresh by its Cache-Control (RFC 9111,
// 5.2.2); said is false where that says nothing. What can't be understood
// counts as no time at all (4.2.1), and of several values the smallest wins.
func lifetime(h http.Header) (d time.Duration, said bool) {
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
				d, said = min(d, deltaSeconds(value)), true
			}
		}
	}
	if !said {
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

// deltaSeconds reads RFC 9111, 1.2.2: digits alone, also in quotes; more than
// fits is 2^31 seconds.
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

// interval puts a lifetime into the bounds of a source: no issuer can have its
// keys asked for all the time, or never again.
func interval(d, ttl time.Duration) time.Duration {
	return min(max(d, shortest(ttl)), ttl)
}

// shortest is the least time between two planned fetches.
func shortest(ttl time.Duration) time.Duration { return min(minInterval, ttl) }

// backoff is the pause after so many failures in a row.
func backoff(failures int) time.Duration {
	if failures > 9 { // 2^9 s is over 5 minutes
		return maxBackoff
	}
	return min(minBackoff<<max(failures-1, 0), maxBackoff)
}

// early takes up to a tenth off a time, so that sources that were opened
// together drift apart and none is late.
func early(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/10) // #nosec G404 -- jitter, no secret
}
