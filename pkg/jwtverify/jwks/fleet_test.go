package jwks_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// fleet holds the parameters of `make fleet`: REPLICAS, ISSUERS and TTL.
type fleet struct {
	replicas, issuers int
	ttl               time.Duration
}

// page is the fleet of docs/scale.md.
var page = fleet{300, 5000, time.Hour}

// load is what one issuer sees in an hour of a kind.
type load struct {
	name          string
	hour, busiest int // fetches in it, and in its busiest minute
}

// fetches counts, by the minute, the fetches that replicas that start together make of one
// issuer; pause is the time after the nth fetch.
func (f fleet) fetches(hours int, pause func(n int) time.Duration) []int {
	end := time.Duration(hours) * time.Hour
	minutes := make([]int, hours*60)
	for range f.replicas {
		n := 0
		for at := time.Duration(0); at < end; at += pause(n) {
			minutes[at/time.Minute]++
			n++
		}
	}
	return minutes
}

// loads simulates the fleet by the functions that plan each fetch.
func (f fleet) loads() []load {
	up := f.fetches(48, func(int) time.Duration { return jwks.WithJitter(jwks.Interval(f.ttl, f.ttl)) })
	down := f.fetches(2, func(n int) time.Duration { return jwks.WithJitter(jwks.Backoff(n)) })
	of := func(name string, minutes []int, from, to int) load {
		l := load{name: name}
		for _, n := range minutes[from*60 : to*60] {
			l.hour, l.busiest = l.hour+n, max(l.busiest, n)
		}
		l.hour /= to - from
		return l
	}
	return []load{
		of("issuer up, all replicas just started", up, 0, 1),
		of("issuer up", up, 24, 48), // the second day
		of("issuer down, first hour", down, 0, 1),
		of("issuer down, each further", down, 1, 2),
	}
}

// String is the table that `make fleet` prints.
func (f fleet) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d replicas, %d issuers, ttl %v\n| | of one issuer in an hour | in its busiest minute | of all issuers in a second |\n|---|---|---|---|\n", f.replicas, f.issuers, f.ttl)
	for _, l := range f.loads() {
		fmt.Fprintf(&b, "| %s | %d | %d | %.0f |\n", l.name, l.hour, l.busiest, float64(l.hour)*float64(f.issuers)/3600)
	}
	return b.String()
}

// The fetches that a fleet makes of its issuers are those that docs/scale.md has.
func TestFleet(t *testing.T) {
	if text := os.Getenv("USSOAUTHZ_FLEET"); text != "" {
		var f fleet
		var ttl string
		if _, err := fmt.Sscan(text, &f.replicas, &f.issuers, &ttl); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var err error
		if f.ttl, err = time.ParseDuration(ttl); err != nil || f.ttl < time.Minute || f.replicas < 1 || f.replicas > 100_000 {
			t.Fatalf("%q: up to 100000 replicas, and a ttl of a minute or more: %v", text, err)
		}
		fmt.Print(f)
		return
	}
	text, err := os.ReadFile("../../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range page.loads() {
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(l.name) + ` \| (\d+) \| (\d+) \| (\d+) \|$`).FindSubmatch(text)
		if m == nil {
			t.Errorf("docs/scale.md has no row %q:\n%s", l.name, page)
			continue
		}
		// By chance the busiest minute differs more than the sum of an hour.
		for i, c := range []struct{ got, within float64 }{{float64(l.hour), 0.05}, {float64(l.busiest), 0.6}, {float64(l.hour) * float64(page.issuers) / 3600, 0.05}} {
			shown, err := strconv.ParseFloat(string(m[i+1]), 64)
			if err != nil || math.Abs(shown-c.got) > c.within*c.got+1 {
				t.Errorf("%s: docs/scale.md shows %v, the simulation has %v", l.name, shown, c.got)
			}
		}
		if l.name == "issuer up" && l.busiest > page.replicas/5 {
			t.Errorf("%d of %d replicas fetch in one minute on the second day: they did not drift apart", l.busiest, page.replicas)
		}
	}
}
