// Package doctor asks the key servers of tenants, as the service would, and
// tells what is wrong with their answers and what to do.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Outcome is how a tenant's keys are.
type Outcome string

// The outcomes: with Failed no token of the tenant passes; with Warned some may
// not.
const (
	OK      Outcome = "ok"
	Warned  Outcome = "warning"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // the keys are not on the network
)

// Result is what was found of one tenant.
type Result struct {
	Tenant   string    `json:"tenant"`
	Source   string    `json:"source"`
	Outcome  Outcome   `json:"outcome"`
	Problems []Problem `json:"problems"`
	Keys     []Key     `json:"keys"`
	TookMS   int64     `json:"took_ms"`
}

// Problem is one thing that is wrong.
type Problem struct {
	// Stage is dns, connect, tls, timeout, answer, key, algorithm, kept or clock.
	Stage  string `json:"stage"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// Key is a usable key of a set.
type Key struct {
	ID         string                `json:"kid"`
	Algorithms []jwtverify.Algorithm `json:"algorithms"`
}

// atOnce bounds the servers that are asked at a time; the fetcher's transport
// bounds the connections to one.
const atOnce = 16

// Examine asks the key servers of the tenants, each source once. The results
// are in the tenants' order. dir is the folder
// that their file names are relative to. done is called after each tenant with the number
// of those that are through, from one goroutine at a time.
func Examine(ctx context.Context, f *jwks.Fetcher, list []tenants.Config, dir string, done func(n int)) []Result {
	results := make([]Result, len(list))
	groups := map[string][]int{} // tenants by source: many may share one
	for i := range list {
		remote := list[i].Remote(dir)
		if !remote.Discovery {
			remote.Issuers = nil
		}
		remote.TTL, remote.MaxStale = 0, 0
		key := fmt.Sprintf("%#v", remote)
		groups[key] = append(groups[key], i)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	through, places := 0, make(chan struct{}, atOnce)
	for _, members := range groups {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			var probe *jwks.Probe
			if remote := list[members[0]].Remote(dir); remote.URL != "" {
				probe = f.Probe(ctx, remote)
			}
			for _, i := range members {
				results[i] = judge(&list[i], probe)
			}
			mu.Lock()
			defer mu.Unlock()
			through += len(members)
			done(through)
		})
	}
	wg.Wait()
	return results
}

// judge words what a probe found for one of the tenants that share its source;
// nil: the keys are at hand.
func judge(c *tenants.Config, p *jwks.Probe) Result {
	r := Result{Tenant: c.ID, Source: c.KeySource(), Outcome: Skipped, Problems: []Problem{}, Keys: []Key{}}
	if p == nil {
		return r
	}
	r.Outcome, r.TookMS = OK, p.Duration.Milliseconds()
	for _, k := range p.Keys {
		r.Keys = append(r.Keys, Key{k.ID(), k.Algorithms()})
	}
	if p.Err != nil {
		r.add(Failed, unreachable(p))
	} else {
		for _, problem := range p.Problems {
			r.add(Warned, Problem{"key", problem.Error(), "tokens signed by it are refused"})
		}
		r.algorithms(c, p.Keys)
	}
	r.kept(p)
	r.clock(c, p)
	return r
}

func (r *Result) add(o Outcome, p Problem) {
	r.Problems = append(r.Problems, p)
	if r.Outcome != Failed {
		r.Outcome = o
	}
}

// algorithms looks for keys whose tokens the tenant refuses for their
// algorithm.
func (r *Result) algorithms(c *tenants.Config, keys []*jwtverify.Key) {
	accepted := c.Algorithms
	if accepted == nil {
		for _, a := range jwtverify.Asymmetric() {
			accepted = append(accepted, string(a))
		}
	}
	var refused []string
	for _, k := range keys {
		if !slices.ContainsFunc(k.Algorithms(), func(a jwtverify.Algorithm) bool { return slices.Contains(accepted, string(a)) }) {
			refused = append(refused, fmt.Sprintf("%q %v", k.ID(), k.Algorithms()))
		}
	}
	if len(refused) == 0 {
		return
	}
	problem := Problem{"algorithm", fmt.Sprintf("the tenant accepts %v, which %s can't do", accepted, strings.Join(refused, ", ")), "add the keys' algorithm to algorithms of the tenant, if its tokens are signed with it"}
	if len(refused) == len(keys) {
		r.add(Failed, problem)
	} else {
		r.add(Warned, problem)
	}
}

// kept tells of keys that serve still, and are about to vanish: the folder of
// key sets has them, and the server no longer sends them, or does not answer.
func (r *Result) kept(p *jwks.Probe) {
	if len(p.Stored) == 0 || time.Now().After(p.StoredUntil) {
		return
	}
	if p.Err != nil {
		r.add(Failed, Problem{"kept", fmt.Sprintf("the keys of jwks_dir serve until %s, and then nobody's token passes", p.StoredUntil.UTC().Format(time.RFC3339)), "mend the server by then"})
		return
	}
	var gone []string
	for _, k := range p.Stored {
		if !slices.ContainsFunc(p.Keys, func(now *jwtverify.Key) bool { return now.ID() == k.ID() }) {
			gone = append(gone, strconv.Quote(k.ID()))
		}
	}
	if len(gone) > 0 {
		r.add(Warned, Problem{"kept", fmt.Sprintf("the server no longer sends %s, which it sent until %s", strings.Join(gone, ", "), p.StoredAt.UTC().Format(time.RFC3339)), "the service forgets them at its next fetch, and refuses their tokens: put them back if the issuer still signs with them"})
	}
}

// minSkew is more than a second's rounding and a slow answer make.
const minSkew = 5 * time.Second

// clock compares the server's clock with ours: exp, nbf and iat are by the
// issuer's.
func (r *Result) clock(c *tenants.Config, p *jwks.Probe) {
	if !p.HasDate || p.Skew.Abs() <= max(minSkew, c.Leeway) {
		return
	}
	way := "ahead of"
	if p.Skew < 0 {
		way = "behind"
	}
	r.add(Warned, Problem{"clock", fmt.Sprintf("the server's clock is %v %s ours, and the leeway is %v", p.Skew.Abs(), way, c.Leeway), "set both clocks by NTP; tokens look expired or not valid yet"})
}

// unreachable says at which stage a fetch ended, and what to look at.
func unreachable(p *jwks.Probe) Problem {
	err := p.Err
	problem := Problem{Stage: "answer", Text: strings.ReplaceAll(err.Error(), "\n", "; ")}
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var dial *net.OpError
	switch {
	case errors.As(err, &dns):
		problem.Stage, problem.Advice = "dns", "check the host's name, and the resolver of this machine"
	case errors.Is(err, context.DeadlineExceeded):
		problem.Stage, problem.Advice = "timeout", "check the firewall between here and the server, and how long it takes to answer"
	case errors.As(err, &name):
		problem.Stage, problem.Advice = "tls", "the certificate is for other names: write the URL with one of them"
	case errors.As(err, &unknown):
		problem.Stage, problem.Advice = "tls", "its authority is not known here: name its file as ca_file in jwks_tls of the tenant"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		problem.Stage, problem.Advice = "tls", "renew the certificate, or set this machine's clock"
	case errors.As(err, &invalid), errors.As(err, &certificate):
		problem.Stage, problem.Advice = "tls", "the certificate is not one of a server"
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		problem.Stage, problem.Advice = "tls", "no TLS is spoken there: check the port"
	case errors.Is(err, syscall.ECONNREFUSED):
		problem.Stage, problem.Advice = "connect", "nobody listens there: check host and port, and whether the server is up"
	case errors.As(err, &dial):
		problem.Stage, problem.Advice = "connect", "check the address and the way to it"
	case p.ContentType != "" && !strings.Contains(p.ContentType, "json"):
		problem.Advice = "the answer is " + p.ContentType + ": the URL is probably that of a page, not of a key set"
	case strings.Contains(problem.Text, "status"):
		problem.Advice = "ask for the URL with curl; the issuer's openid-configuration names the right one as jwks_uri"
	}
	return problem
}
