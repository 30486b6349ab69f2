package jwtverify_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

const (
	fleetReplicas = 300
	fleetTTL      = time.Hour
)

// fetches counts by the minute what replicas that start together ask of one
// issuer; pause is the time after the nth fetch.
func fetches(hours int, pause func(n int) time.Duration) []int {
	end := time.Duration(hours) * time.Hour
	minutes := make([]int, hours*60)
	for range fleetReplicas {
		n := 0
		for at := time.Duration(0); at < end; at += pause(n) {
			minutes[at/time.Minute]++
			n++
		}
	}
	return minutes
}

func hourOf(minutes []int, hour int) (sum, busiest int) {
	for _, n := range minutes[hour*60 : hour*60+60] {
		sum, busiest = sum+n, max(busiest, n)
	}
	return sum, busiest
}

// What a fleet asks of one issuer, by the functions that plan each fetch, and
// the page that tells it.
func TestFleetFetches(t *testing.T) {
	planned := fetches(48, func(int) time.Duration {
		return jwtverify.Early(jwtverify.Interval(fleetTTL, fleetTTL))
	})
	down := fetches(2, func(n int) time.Duration { return jwtverify.Early(jwtverify.Backoff(n)) })
	day := 0
	for hour := 24; hour < 48; hour++ {
		n, _ := hourOf(planned, hour)
		day += n
	}
	first, _ := hourOf(down, 0)
	later, _ := hourOf(down, 1)
	_, busiest := hourOf(planned, 47)
	if busiest > fleetReplicas/5 {
		t.Errorf("%d of %d replicas ask in one minute after two days: they did not drift apart", busiest, fleetReplicas)
	}
	page, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]int{
		"issuer up":                 day / 24,
		"issuer down, first hour":   first,
		"issuer down, each further": later,
	} {
		t.Logf("%s: %d fetches an hour", name, got)
		m := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| (\d+) \|$`).FindSubmatch(page)
		if m == nil {
			t.Errorf("docs/scale.md has no row %q", name)
			continue
		}
		shown, err := strconv.Atoi(string(m[1]))
		if err != nil || math.Abs(float64(shown-got)) > 0.05*float64(got) {
			t.Errorf("%s: docs/scale.md shows %d, the simulation has %d", name, shown, got)
		}
	}
}
