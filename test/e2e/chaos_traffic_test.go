package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/dev/tour"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// chaosTenants have issuers of their own; the last has its keys in a file, so
// that no fault of an issuer excuses an answer to it.
var chaosTenants = []string{"acme", "globex", "hooli"}

// seen is what the application answers with: whom it was told.
type seen struct{ User, Tenant string }

func chaosApplication(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(seen{r.Header.Get("X-User-Id"), r.Header.Get("X-Tenant-Id")}) // the caller went away
}

// bearer is a token with the times that the oracle must know.
type bearer struct {
	text               string
	notBefore, expires time.Time
}

// mint signs for a user of tenant by the issuer's own clock.
func (c *chaos) mint(signer *jwttest.Issuer, tenant, user string, lifetime time.Duration, more map[string]any) bearer {
	now := time.Now().Add(time.Duration(c.skew[tenant].Load())).Truncate(time.Second)
	claims := map[string]any{
		"iss": "https://sso." + tenant + ".example", "aud": "posts", "sub": user, "tenant_id": tenant, "workspace_id": "ws_1",
		"roles": []string{"editor"}, "scopes": []string{"read:posts"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	for name, value := range more {
		claims[name] = value
	}
	text, err := signer.Mint(claims)
	if err != nil {
		panic(err) // claims of ours always encode
	}
	return bearer{minted.token(text), now, now.Add(lifetime)}
}

// asker draws questions of one worker.
type asker struct {
	*chaos
	rand *rand.Rand
	long map[string]bearer // kept for a while, so that the caches have something to remember
}

// question draws a request: of each kind about as many.
func (a *asker) question() question {
	n := a.rand.IntN(len(chaosTenants))
	tenant, other := chaosTenants[n], chaosTenants[(n+1)%len(chaosTenants)]
	issuer := a.issuers[tenant]
	user := fmt.Sprintf("user:%d", a.rand.IntN(50))
	base := question{tenant: tenant, host: tenant + ".example", path: "/me", method: http.MethodGet}
	as := func(name string, b bearer, change func(*question)) question {
		q := base
		q.name, q.token, q.user, q.notBefore, q.expires = name, b.text, user, b.notBefore, b.expires
		change(&q)
		return q
	}
	fresh := func() bearer { return a.mint(issuer, tenant, user, 10*time.Minute, nil) }
	denied := func(path, reason string) func(*question) {
		return func(q *question) { q.path, q.reason = path, reason }
	}
	none := bearer{}
	switch a.rand.IntN(21) {
	case 0:
		return as("public", none, func(q *question) { q.path, q.user = "/", "" })
	case 1, 2, 3:
		kept := tenant + user
		if b, has := a.long[kept]; !has || a.rand.IntN(20) == 0 || time.Until(b.expires) < 0 {
			a.long[kept] = fresh()
		}
		return as("a token that is known", a.long[kept], func(*question) {})
	case 4:
		return as("a fresh token", fresh(), denied("/posts", ""))
	case 5:
		return as("a token of a few minutes", a.mint(issuer, tenant, user, 2*time.Minute, nil), func(*question) {})
	case 6:
		kept := "short" + tenant + user
		if b, has := a.long[kept]; !has || time.Since(b.expires) > 2*chaosLeeway {
			a.long[kept] = a.mint(issuer, tenant, user, time.Second, nil)
		}
		return as("a token that ends now", a.long[kept], func(*question) {})
	case 7:
		return as("no token", none, func(q *question) { q.reason = "token_not_found" })
	case 8:
		return as("an expired token", a.mint(issuer, tenant, user, -time.Hour, nil), func(q *question) {
			q.notBefore = time.Time{}
			q.reason, q.expires = "token_expired", time.Time{}
		})
	case 9:
		return as("another tenant's token", a.mint(a.issuers[other], other, user, time.Hour, nil), func(q *question) {
			q.reason, q.expires = "token_invalid", time.Time{}
		})
	case 10:
		return as("an imposter's token", a.mint(a.imposters[tenant], tenant, user, 10*time.Minute, nil), func(q *question) {
			q.reason, q.imposter = "token_invalid", true
		})
	case 11:
		return as("for another application", a.mint(issuer, tenant, user, time.Hour, map[string]any{"aud": "other"}), func(q *question) {
			q.reason, q.expires = "token_invalid", time.Time{}
		})
	case 12:
		return as("without the scope", fresh(), func(q *question) { q.method, q.path, q.reason = http.MethodDelete, "/posts/1", "insufficient_scope" })
	case 13:
		return as("without the role", fresh(), denied("/admin", "insufficient_role"))
	case 14:
		return as("another workspace", fresh(), denied("/workspaces/ws_2", "workspace_mismatch"))
	case 15:
		return as("no route", fresh(), denied("/secret", "no_route"))
	case 16:
		return as("the policy says no", fresh(), denied("/policy", "policy_denied"))
	case 17, 18, 19:
		r := a.someRevoked(a.rand)
		if r == nil {
			return as("public", none, func(q *question) { q.path, q.user = "/", "" })
		}
		return as("a token that is revoked", r.bearer, func(q *question) {
			q.tenant, q.host, q.user, q.revoked = r.entry.Tenant, r.entry.Tenant+".example", r.user, r
		})
	default:
		return []question{
			as("a cut escape", none, denied("/me%", "invalid_request")),
			as("an unknown host", none, func(q *question) { q.host, q.tenant, q.reason = "nobody.example", "", "invalid_tenant" }),
			as("host against header", fresh(), func(q *question) {
				q.header, q.reason, q.expires = [2]string{"X-Tenant-Id", other}, "invalid_tenant", time.Time{}
				q.token, q.tenant = "", "" // it is not looked at
			}),
		}[a.rand.IntN(3)]
	}
}

// tally counts answers.
type tally struct {
	asked, wrongAllows, wrongRefusals atomic.Int64
	byReason                          [17]atomic.Int64
}

// chaosReasons are the outcomes that are counted one by one.
var chaosReasons = []string{
	allowed, tokenRevoked, "token_not_found", "token_expired", "token_invalid", "insufficient_scope", "insufficient_role", "workspace_mismatch",
	"no_route", "policy_denied", "invalid_request", "invalid_tenant", "keys_unavailable", envoyAlone, noAnswer, "overloaded", "internal",
}

// ask sends questions until ctx ends, and judges every answer.
func (a *asker) ask(ctx context.Context, t *testing.T, count *tally) {
	tick := time.NewTicker(5 * time.Millisecond) // steady, and room for the others on the machine
	defer tick.Stop()
	for ctx.Err() == nil {
		q := a.question()
		start := time.Now()
		got, status, shown := a.send(q)
		end := time.Now()
		count.asked.Add(1)
		if i := slices.Index(chaosReasons, got); i >= 0 {
			count.byReason[i].Add(1)
		}
		accepted := a.ledger.acceptable(q, start, end)
		switch {
		case !slices.Contains(accepted, got) && got == allowed:
			count.wrongAllows.Add(1)
			t.Errorf("WRONG ALLOW: %s of %q: %s; faults: %v", q.name, q.tenant, shown, a.ledger.during(start, end))
		case !slices.Contains(accepted, got):
			count.wrongRefusals.Add(1)
			t.Errorf("%s of %q: %s (%d %s), want one of %v; faults: %v", q.name, q.tenant, got, status, shown, accepted, a.ledger.during(start, end))
		case got == allowed:
			want := seen{}
			if q.user != "" {
				want = seen{q.user, q.tenant}
			}
			if saw := (seen{}); json.Unmarshal([]byte(shown), &saw) != nil || saw != want {
				count.wrongAllows.Add(1)
				t.Errorf("WRONG IDENTITY: %s of %q: the application saw %s, want %+v", q.name, q.tenant, shown, want)
			}
		}
		<-tick.C
	}
}

// send returns the outcome, and what was shown with it.
func (a *asker) send(q question) (outcome string, status int, body string) {
	req, err := http.NewRequest(q.method, a.edge, nil)
	if err != nil {
		panic(err) // the edge is a URL
	}
	req.URL.Opaque, req.Host = q.path, q.host
	req.Header.Set("X-User-Id", "user:root") // never believed
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.header[0] != "" {
		req.Header.Set(q.header[0], q.header[1])
	}
	res, err := a.client.Do(req)
	if err != nil {
		return noAnswer, 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }() // it was read
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return noAnswer, res.StatusCode, err.Error()
	}
	body = strings.TrimSpace(string(text))
	if res.StatusCode == http.StatusOK {
		return allowed, res.StatusCode, body
	}
	return tour.Answer{Body: body}.Reason(), res.StatusCode, body
}
