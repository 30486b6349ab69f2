package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Probe is what one fetch of a key set brought, for people who look for what is
// wrong with it.
type Probe struct {
	Keys        []*jwtverify.Key // usable ones
	Problems    []error          // keys that a source would leave out
	Took        time.Duration    // the whole fetch, discovery included
	ContentType string           // as the server named it; "" where no answer came
	// Skew is how far the server's clock is ahead of ours by the answer's Date,
	// in whole seconds; Dated says whether it had one. What a cache kept for a
	// while (Age) is no older for it.
	Skew  time.Duration
	Dated bool
	Err   error // why there are no keys
	// Kept is what the Fetcher's store has of the source, Confirmed when the issuer
	// last vouched for it, and Until when it serves no longer.
	Kept             []*jwtverify.Key
	Confirmed, Until time.Time
}

// Probe fetches a key set once, within the limits and with the guards of every
// fetch, and keeps nothing of it. It waits for no other fetch.
func (f *Fetcher) Probe(ctx context.Context, cfg RemoteConfig) *Probe {
	u, err := cfg.check()
	if err != nil {
		return &Probe{Err: fmt.Errorf("opening a remote key set: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	r := f.fetch(ctx, &source{fetcher: f, cfg: cfg, url: u, host: hostPort(u)})
	ended := time.Now()
	p := &Probe{Keys: r.keys, Problems: r.problems, Took: ended.Sub(r.begun), Err: r.err, ContentType: r.header.Get("Content-Type")}
	if p.Err == nil && len(p.Keys) == 0 {
		p.Err = errors.Join(append([]error{errNoKeys}, p.Problems...)...)
	}
	if store := f.cfg.Store; store != nil {
		if k := store.load(cfg.origin()); k != nil {
			p.Kept, _, _ = jwtverify.ParseKeySet(k.body) // what can't be read serves nobody
			p.Confirmed, p.Until = k.confirmed, k.confirmed.Add(cfg.MaxStale)
		}
	}
	if date, err := http.ParseTime(r.header.Get("Date")); err == nil {
		age, _ := strconv.Atoi(r.header.Get("Age")) // 0 where there is none, or it is no number
		p.Skew, p.Dated = date.Add(time.Duration(age)*time.Second).Sub(ended.Truncate(time.Second)), true
	}
	return p
}
