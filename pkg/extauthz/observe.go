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

// Observer receives the record of each check, once, after the answer is made and
// before it is sent. Metrics, traces and the decision log are observers. Many
// goroutines call Observe at once, each while its request waits, so it must not block.
// It must not retain r, or any string or slice of r.Message or r.Input: their memory is
// reused after it returns. It copies what it needs later.
//
// A panic in Observe changes no answer.
type Observer interface {
	Observe(ctx context.Context, r *Record)
}

// Record describes one check. It holds the credential of the request, in
// Message.Headers and Input.Headers: an observer MUST NOT disclose it.
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

// Stage is a stage of the pipeline.
type Stage int

// The stages, in order.
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

// Path returns the path as sent, without the query, which may hold secrets.
func (r *Record) Path() string {
	if r.Message == nil {
		return ""
	}
	path, _, _ := strings.Cut(r.Message.Target, "?")
	return path
}

// endStage records the end of a stage. r is nil without an observer.
func (r *Record) endStage(s Stage) {
	if r != nil {
		r.Ends[s] = time.Since(r.Start)
	}
}

// complete records what the stages found.
func (r *Record) complete(a *Authorizer, m *Message, state *checkState) {
	if r == nil {
		return
	}
	r.Policy, r.Message, r.Tenant, r.Input = a.policy, m, state.tenant, state.input
	r.TokenCache, r.DecisionCache = state.lookup, state.decision.Lookup
	if state.matched {
		r.Route = state.match.Index
	}
}

var records = sync.Pool{New: func() any { return new(Record) }}

// record returns a record to fill in, nil without an observer.
func (s *Server) record(start time.Time) *Record {
	if s.observer == nil {
		return nil
	}
	r := records.Get().(*Record)
	*r = Record{Start: start, Route: -1}
	return r
}

// observe passes the record to the observer and recycles it.
func (s *Server) observe(ctx context.Context, r *Record, a *Answer) {
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
	r.endStage(StageEncode)
	s.observer.Observe(ctx, r)
}
