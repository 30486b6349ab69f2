package extauthz

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Observer is told of each check once, after its answer was made and before it
// is sent: metrics, traces and the decision log are observers. Observe is called
// by many goroutines at once, on the road of the request, so it must not wait
// for anything. It must not keep r, nor a string or slice of r.Message or
// r.Input: they are used again once it returns. What it must keep it copies.
//
// An observer that panics changes no answer.
type Observer interface {
	Observe(ctx context.Context, r *Record)
}

// Record tells one check. It holds the credential of the request, in
// Message.Headers and Input.Headers: an observer MUST NOT let that out.
type Record struct {
	Answer  *Answer               // of an allow without the headers of its identity
	Start   time.Time             // when the check had arrived
	Ends    [Stages]time.Duration // since Start; 0: the stage was not reached, or failed
	Message *Message              // nil: the check could not be read
	Tenant  *tenants.Tenant       // nil: none was selected
	Route   int                   // its index in Tenant.Routes; -1: none matched
	Input   *policy.Input         // nil: the policy was not asked
	Policy  *policy.Engine        // that decided; nil: the check got to no Authorizer

	TokenCache    jwtverify.Lookup
	DecisionCache jwtverify.Lookup
}

// Stage is a part of the road of a request.
type Stage int

// The stages, in the order of the road.
const (
	StageParse  Stage = iota // one reading of the request
	StageSelect              // the tenant
	StageVerify              // the credential, and the identity's headers
	StageMatch               // the route
	StagePolicy              // Rego, or the decision cache
	StageEncode              // the answer, of denials too
	Stages
)

// String returns the stage's name.
func (s Stage) String() string {
	return [...]string{"parse", "select", "verify", "match", "policy", "encode"}[s]
}

// Path is the path as sent, without the query, which may hold secrets.
func (r *Record) Path() string {
	if r.Message == nil {
		return ""
	}
	path, _, _ := strings.Cut(r.Message.Target, "?")
	return path
}

// reached notes that a stage ended. r is nil where nobody observes.
func (r *Record) reached(s Stage) {
	if r != nil {
		r.Ends[s] = time.Since(r.Start)
	}
}

// walked notes what the road found.
func (r *Record) walked(a *Authorizer, m *Message, road *road) {
	if r == nil {
		return
	}
	r.Policy, r.Message, r.Tenant, r.Input = a.policy, m, road.tenant, road.input
	r.TokenCache, r.DecisionCache = road.lookup, road.decision.Lookup
	if road.matched {
		r.Route = road.match.Index
	}
}

var records = sync.Pool{New: func() any { return new(Record) }}

// record returns a record to fill in, nil where nobody observes.
func (s *Server) record(start time.Time) *Record {
	if s.observer == nil {
		return nil
	}
	r := records.Get().(*Record)
	*r = Record{Start: start, Route: -1}
	return r
}

// tell ends the life of a record.
func (s *Server) tell(ctx context.Context, r *Record, a *Answer) {
	if r == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "an observer panicked", slog.String("error", shorten(fmt.Sprint(p))))
		}
		*r = Record{} // the pool must not keep what the client sent
		records.Put(r)
	}()
	r.Answer = a
	r.reached(StageEncode)
	s.observer.Observe(ctx, r)
}
