package service_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
)

// revocations is how the admin port shows the one source of a service: on
// /readyz?verbose, and by its metrics.
type revocations struct {
	revocation.State
	Metrics map[string]float64
}

func (r *running) revocations(t *testing.T) (state revocations) {
	t.Helper()
	status, text := ask(t, r, "GET", "/readyz?verbose", "", nil)
	var shown struct{ Revocation []revocation.State }
	if err := json.Unmarshal([]byte(text), &shown); err != nil || len(shown.Revocation) != 1 || status != http.StatusOK {
		t.Fatalf("status %d, %v: %s", status, err, text)
	}
	state.State, state.Metrics = shown.Revocation[0], map[string]float64{}
	_, text = ask(t, r, "GET", "/metrics", "", nil)
	for _, m := range regexp.MustCompile(`(?m)^ussoauthz_revocation_(\w+)\{source="redis"\} (\S+)$`).FindAllStringSubmatch(text, -1) {
		value, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		state.Metrics[m[1]] = value
	}
	return state
}

// While nobody knows what Redis says, requests with a token are told that it is
// not them; what is known to be revoked stays so, who has no token is told that,
// and it all ends by itself. The admin port tells at each step.
func TestRevocationRedisDenies(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	issuer := newIssuer(t)
	s := start(t, parse(t, issuer, "revocation: {redis: {url: \""+redis.URL+"\"}, on_unavailable: deny}"))
	conn := dial(t, s.Address(), insecure.NewCredentials())
	tokens := map[string]string{"nobody": "", "good": mint(t, issuer, map[string]any{"jti": "good"}), "bad": mint(t, issuer, map[string]any{"jti": "bad"})}
	become := func(what string, want map[string]string) {
		t.Helper()
		want["nobody"] = "token_not_found"
		for name, reason := range want {
			got := ""
			eventually(t, func() bool {
				var err error
				if got, err = check(t, conn, tokens[name]); err != nil {
					t.Fatal(err)
				}
				return got == reason
			}, func() string { return what + ": " + name + " is " + got + ", want " + reason })
		}
	}
	told := func(what string, available bool, entries int, since time.Time) {
		t.Helper()
		state := s.revocations(t)
		flag := map[bool]float64{true: 1}[available]
		if state.Source != "redis" || state.Available != available || state.Entries != entries || (state.Error == "") != available || state.LastSync.Before(since) {
			t.Errorf("%s: /readyz tells %+v", what, state.State)
		}
		m := state.Metrics
		if len(m) != 4 || m["available"] != flag || m["entries"] != float64(entries) || m["dropped_total"] != 0 || m["last_sync_timestamp_seconds"] < float64(since.Unix()) {
			t.Errorf("%s: /metrics tells %v", what, m)
		}
	}
	started := time.Now().Add(-time.Minute)
	for range 2 { // the second time from the cache
		become("at first", map[string]string{"good": "allowed", "bad": "allowed"})
	}
	told("at first", true, 0, started)
	if err := (revocation.Redis{URL: redis.URL}).Write(t.Context(), revocation.Entry{Tenant: "acme", ID: "bad", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	become("after the revocation", map[string]string{"good": "allowed", "bad": "token_revoked"})
	told("after the revocation", true, 1, started)
	down := map[string]string{"good": "keys_unavailable", "bad": "token_revoked"}
	for what, fault := range map[string]struct{ begin, end func() }{
		"killed": {redis.Kill, redis.Start}, "paused": {redis.Pause, redis.Resume},
	} {
		fault.begin()
		become(what, down)
		told(what, false, 1, started)
		response, err := respond(t, conn, "acme.example", tokens["good"])
		if status := response.GetDeniedResponse().GetStatus().GetCode(); err != nil || status != 503 || response.GetStatus().GetCode() == 0 {
			t.Errorf("%s: %v %v", what, response, err)
		}
		restored := time.Now()
		fault.end()
		become(what+", and back", map[string]string{"good": "allowed", "bad": "token_revoked"})
		told(what+", and back", true, 1, restored)
	}
	redis.Do("zadd", "ussoauthz:revocations", "+inf", "garbage")
	redis.Do("publish", "ussoauthz:revocations/0", revocation.Resync)
	eventually(t, func() bool { return s.revocations(t).Metrics["dropped_total"] == 1 }, func() string { return "garbage is not counted" })
	become("with garbage beside", map[string]string{"good": "allowed", "bad": "token_revoked"})
}
