package main

import (
	"fmt"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/test/bench/drive"
	"github.com/ussoio/ussoauthz/test/bench/world"
)

// scenario is one kind of load. Each of its rounds drives the floor and the
// service with the same messages, one after the other.
type scenario struct {
	name     string
	setup    world.Setup
	inFlight int
	want     drive.Want
	messages func(l *lab, round int) ([][]byte, error)
	once     bool // each message is sent once: those of a round are fresh
}

// users is how many tokens are hot at a time.
const users = 1000

func plain() world.Setup { return world.Setup{Tenants: 1, Routes: 10} }

func scenarios() []scenario {
	allowed := drive.Want{Reason: string(answers.Allowed)}
	return []scenario{
		{name: "hot token", setup: plain(), inFlight: 32, want: allowed, messages: hot},
		{name: "hot token, 1 in flight", setup: plain(), inFlight: 1, want: allowed, messages: hot},
	}
}

// hot are calls of users that were seen before.
func hot(l *lab, _ int) ([][]byte, error) {
	messages := make([][]byte, users)
	for n := range messages {
		token, err := l.issuers.Mint(0, n, fmt.Sprint("hot-", n), nil)
		if err != nil {
			return nil, err
		}
		call := world.Call{Host: world.Host(0), Path: fmt.Sprintf("/r%d/items/%d?page=2", n%10, n), Token: token}
		if messages[n], err = call.Message(n, time.Now()); err != nil {
			return nil, err
		}
	}
	return messages, nil
}
