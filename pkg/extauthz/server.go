// Package extauthz answers Envoy's external authorization checks: Authorizer
// is the whole decision, free of protobuf, and Server is the gRPC service
// around it. It is the only home of Envoy's types.
package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Server implements envoy.service.auth.v3.Authorization. It is safe for
// concurrent use. The zero value denies everything, as one from NewServer does
// until Use was called.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	current     atomic.Pointer[Authorizer]
	inFlight    atomic.Int64
	maxInFlight int64
	bytes       atomic.Int64 // of the large checks among them
	maxBytes    int64
	log         *slog.Logger
	observer    Observer
}

// ServerConfig bounds a Server.
type ServerConfig struct {
	MaxInFlight int // checks at once; beyond, the answer is Overloaded; 0: no bound
	// MaxInFlightBytes bounds the bytes of the large checks that are decided at
	// once: a policy that reads bodies needs many times their size. 0: no bound.
	MaxInFlightBytes int64
	Log              *slog.Logger // denials at info, internal errors at error; nil: none
	Observer         Observer     // is called after every check; nil: none
}

// NewServer returns a server that denies everything until Use was called.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{maxInFlight: int64(cfg.MaxInFlight), maxBytes: cfg.MaxInFlightBytes, log: cfg.Log, observer: cfg.Observer}
}

// largeCheck is more than a check without a body has. The memory of smaller ones is
// bounded by their number.
const largeCheck = 16 << 10

// InFlight returns the number of checks that are being decided.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// Use makes a the authorizer of all checks that begin from now on. A check that is
// under way ends with the one that it began with.
func (s *Server) Use(a *Authorizer) { s.current.Store(a) }

// Register adds the service to a gRPC server that was made with
// ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) { r.RegisterService(&serviceDesc, s) }

// Check decides about one request. It always returns a response and never an
// error, since Envoy's failure_mode_allow turns an error into an allow.
func (s *Server) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	b, err := proto.Marshal(request)
	if err != nil {
		b = nil // an empty check, which is refused
	}
	c := &check{bytes: b}
	s.respond(ctx, c)
	return decodeAnswer(c.response), nil
}

// respond answers a check. Whatever goes wrong is a denial, a panic included.
func (s *Server) respond(ctx context.Context, c *check) {
	start := time.Now()
	record := s.record(start)
	c.state.record = record
	defer func() {
		if r := recover(); r != nil {
			answer := refuse(answers.Internal, fmt.Errorf("panic: %v", r))
			s.logAnswer(ctx, answer, start)
			c.response = encode(answer)
			s.observe(ctx, record, answer)
		}
	}()
	answer := s.answer(ctx, c)
	s.logAnswer(ctx, answer, start)
	c.response = encode(answer)
	s.observe(ctx, record, answer)
}

func (s *Server) answer(ctx context.Context, c *check) *Answer {
	if n := s.inFlight.Add(1); s.maxInFlight > 0 && n > s.maxInFlight {
		s.inFlight.Add(-1)
		return refuse(answers.Overloaded, nil)
	}
	defer s.inFlight.Add(-1)
	if n := int64(len(c.bytes)); n > largeCheck {
		defer s.bytes.Add(-n)
		if all := s.bytes.Add(n); s.maxBytes > 0 && all > s.maxBytes {
			return refuse(answers.Overloaded, nil)
		}
	}
	authorizer := s.current.Load()
	if authorizer == nil {
		return refuse(answers.Internal, errNotLoaded)
	}
	c.message.Headers = c.headers[:0]
	if err := readCheck(c.bytes, &c.message); err != nil {
		return refuse(answers.InvalidRequest, err)
	}
	return authorizer.authorize(ctx, &c.message, &c.state)
}

var errNotLoaded = errors.New("no configuration is loaded")

// refuse returns the denial of a check that never reached an Authorizer.
func refuse(reason answers.Reason, err error) *Answer {
	a := (&Answer{DecisionID: newDecisionID(new([36]byte))}).deny(reason, err)
	a.finish(policy.Decision{}, nil, false)
	return a
}

func (s *Server) logAnswer(ctx context.Context, a *Answer, start time.Time) {
	level := slog.LevelInfo
	switch {
	case a.Allowed:
		level = slog.LevelDebug
	case a.Reason == answers.Internal || a.Reason == answers.PolicyError:
		level = slog.LevelError
	}
	if s.log == nil || !s.log.Enabled(ctx, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 7),
		slog.String("decision_id", a.DecisionID),
		slog.String("reason", string(a.Reason)),
		slog.String("tenant", a.Tenant),
		slog.String("sub", a.Subject),
		slog.String("route", a.Route),
		slog.Duration("took", time.Since(start)),
	)
	if a.Err != nil {
		attrs = append(attrs, slog.String("error", shorten(a.Err.Error())))
	}
	s.log.LogAttrs(ctx, level, "decision", attrs...)
}

// shorten bounds an error's text: the error of a policy can repeat what a client sent.
func shorten(text string) string {
	const most = 1 << 10
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
