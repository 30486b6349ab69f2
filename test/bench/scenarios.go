package main

import (
	"fmt"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/report"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// scenario is one kind of load. Each of its rounds drives the floor and the
// service with the same messages, one after the other.
type scenario struct {
	name     string
	setup    world.Setup
	inFlight int
	want     drive.Want
	messages func(w *world.Issuers, round int) (batch, error)
	once     bool // each message is sent once: those of a round are fresh
	half     bool // at half of the rate that saturates the server
}

// batch is what a round sends. warm is sent before, unmeasured.
type batch struct{ warm, messages [][]byte }

// size is how much of everything there is.
type size struct {
	users   int // whose tokens are hot
	tenants int // where there are many
	routes  int // where there are many
	fresh   int // messages of a round that are sent once
	edge    int // tenants behind Envoy, where there are many
	memory  int // tenants of the measure of memory
	tokens  int // of it, in all
}

var (
	full  = size{users: 1000, tenants: 10_000, routes: 5000, fresh: 6000, edge: 1000, memory: 10_000, tokens: 100_000}
	small = size{users: 20, tenants: 20, routes: 20, fresh: 40, edge: 20, memory: 20, tokens: 100}
)

// decisionLog is the section that the log of decisions needs. Its file lies
// beside the configuration.
const (
	decisionLog     = "decision_log: {file: {path: " + decisionLogFile + "}}\n"
	decisionLogFile = "decisions.jsonl"
)

// Policies of a user: neither needs anything that the embedded one has.
const (
	timeOfDay = `package bench

import data.usso

default decision := false

decision if {
	usso.has_scope("read:items")
	[hour, _, _] := time.clock(time.now_ns())
	hour >= 0
	hour < 24
}
`
	attributes = `package bench

import data.usso

default decision := false

decision if {
	usso.has_scope("read:items")
	input.attributes.request.http.method == "GET"
	startswith(input.attributes.request.http.path, "/r")
	input.attributes.source.address.socketAddress.portValue > 0
}
`
)

// roomForTokens keeps hot what each round adds: a token that was pushed out would
// be verified again.
const roomForTokens = "caches: {tokens: 256MiB}\n"

func (z size) scenarios() []scenario {
	setup := func(change func(*world.Setup)) world.Setup {
		s := world.Setup{Tenants: 1, Routes: 10}
		if change != nil {
			change(&s)
		}
		return s
	}
	plain := setup(nil)
	// What is sent once fills the caches, and would push out what is hot.
	apart := func(name string) world.Setup { return setup(func(s *world.Setup) { s.Apart = name }) }
	allowed := drive.Want{Reason: string(answers.Allowed)}
	denied := func(r answers.Reason) drive.Want { return drive.Want{Code: 16, Reason: string(r)} }
	// A few of the kids are looked for; the others may be those of a new key.
	looked := denied(answers.TokenInvalid)
	heldBack := drive.Want{Code: 14, Reason: string(answers.KeysUnavailable), Or: &looked}
	list := []scenario{
		{name: report.Hot, setup: plain, messages: hot(1, z.users, 10)},
		{name: report.HotAlone, setup: plain, inFlight: 1, messages: hot(1, z.users, 10)},
		{name: report.HotHalf, setup: plain, messages: hot(1, z.users, 10), half: true},
		{name: report.HotUnix, setup: setup(func(s *world.Setup) { s.Unix = true }), messages: hot(1, z.users, 10)},
		{name: report.HotLogged, setup: setup(func(s *world.Setup) { s.More = decisionLog }), messages: hot(1, z.users, 10)},
		{name: report.Uncached, setup: setup(func(s *world.Setup) { s.More = "caches: {tokens: 0, decisions: 0}\n" }), messages: hot(1, z.users, 10)},
		{name: report.Cold, setup: apart("cold"), messages: z.cold, once: true},
		{name: report.Miss, setup: setup(func(s *world.Setup) { s.More = roomForTokens }), messages: z.miss, once: true},
		{name: report.TimeOfDay, setup: setup(func(s *world.Setup) { s.Policy = timeOfDay }), messages: hot(1, z.users, 10)},
		{name: report.Attributes, setup: setup(func(s *world.Setup) { s.Policy = attributes }), messages: hot(1, z.users, 10)},
		{name: report.BadSignature, setup: apart("bad"), want: denied(answers.TokenInvalid), messages: z.bad(badSignature)},
		{name: report.UnknownKey, setup: apart("bad"), want: heldBack, messages: z.bad(unknownKey)},
		{name: report.Garbage, setup: apart("bad"), want: denied(answers.TokenInvalid), messages: z.bad(garbage)},
		{name: report.Expired, setup: apart("bad"), want: denied(answers.TokenExpired), messages: z.bad(expired)},
		{name: report.OneTenant, setup: apart("many tokens"), messages: hot(1, z.tenants, 10)},
		{name: report.ManyTenants, setup: setup(func(s *world.Setup) { s.Tenants = z.tenants }), messages: hot(z.tenants, z.tenants, 10)},
		{name: report.ManyRoutes, setup: setup(func(s *world.Setup) { s.Routes = z.routes }), messages: hot(1, z.users, z.routes)},
	}
	for i := range list {
		if list[i].want == (drive.Want{}) {
			list[i].want = allowed
		}
		if list[i].inFlight == 0 {
			list[i].inFlight = 32
		}
	}
	return list
}

// encode makes messages of calls.
func encode(n int, call func(n int) (world.Call, error)) ([][]byte, error) {
	messages := make([][]byte, n)
	for i := range messages {
		c, err := call(i)
		if err == nil {
			messages[i], err = c.Message(i)
		}
		if err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func itemPath(n, routes int) string { return fmt.Sprintf("/r%d/items/%d?page=2", n%routes, n) }

// hot are calls of users that were seen before, spread over tenants and routes.
func hot(tenants, users, routes int) func(*world.Issuers, int) (batch, error) {
	return func(w *world.Issuers, _ int) (b batch, err error) {
		b.messages, err = encode(users, func(n int) (world.Call, error) {
			token, err := w.Mint(n%tenants, n, fmt.Sprint("hot-", n), nil)
			return world.Call{Host: world.Host(n % tenants), Path: itemPath(n*max(1, routes/users), routes), Token: token}, err
		})
		b.warm = b.messages
		return b, err
	}
}

// cold are tokens that nobody has seen, of users whose rights are known.
func (z size) cold(w *world.Issuers, round int) (b batch, err error) {
	b.messages, err = encode(z.fresh, func(n int) (world.Call, error) {
		token, err := w.Mint(0, n%z.users, fmt.Sprintf("cold-%d-%d", round, n), nil)
		return world.Call{Host: world.Host(0), Path: itemPath(n, 10), Token: token}, err
	})
	return b, err
}

// miss are hot tokens, each with rights that no decision was made about: they
// are warmed on a public path, where another decision is made.
func (z size) miss(w *world.Issuers, round int) (b batch, err error) {
	tokens := make([]string, z.fresh)
	b.warm, err = encode(z.fresh, func(n int) (world.Call, error) {
		id := fmt.Sprintf("miss-%d-%d", round, n)
		token, err := w.Mint(0, n, id, func(claims map[string]any) {
			claims["scopes"] = []string{"read:items", "read:" + id}
		})
		tokens[n] = token
		return world.Call{Host: world.Host(0), Path: world.PublicPath, Token: token}, err
	})
	if err != nil {
		return b, err
	}
	b.messages, err = encode(z.fresh, func(n int) (world.Call, error) {
		return world.Call{Host: world.Host(0), Path: itemPath(n, 10), Token: tokens[n]}, nil
	})
	return b, err
}

// bad are calls with tokens that are refused.
func (z size) bad(token func(w *world.Issuers, n int) (string, error)) func(*world.Issuers, int) (batch, error) {
	return func(w *world.Issuers, _ int) (b batch, err error) {
		b.messages, err = encode(z.users, func(n int) (world.Call, error) {
			t, err := token(w, n)
			return world.Call{Host: world.Host(0), Path: itemPath(n, 10), Token: t}, err
		})
		b.warm = b.messages
		return b, err
	}
}
