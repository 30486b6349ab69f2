package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ussoauthz": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
		},
	})
}

// Each script is a session as a user has it.
func TestScripts(t *testing.T) {
	demo, err := filepath.Abs("../../demo/ussoauthz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DEMO", demo)
			return keys(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually},
	})
}

// keys puts a key set and a token of tenant acme into each script's folder.
func keys(env *testscript.Env) error {
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.acme.example"})
	if err != nil {
		return err
	}
	token, err := issuer.Mint(map[string]any{"sub": "user:alice", "aud": "app", "scopes": []string{"read:posts"}, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		return err
	}
	env.Setenv("TOKEN", token)
	return os.WriteFile(filepath.Join(env.WorkDir, "keys.json"), issuer.JWKS(), 0o600)
}

// eventually runs a command until it succeeds: "eventually 10s ussoauthz health".
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually SECONDSs COMMAND ARG…")
	}
	seconds, err := strconv.Atoi(strings.TrimSuffix(args[0], "s"))
	if err != nil {
		ts.Fatalf("%v", err)
	}
	limit := time.Now().Add(time.Duration(seconds) * time.Second)
	for {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			ts.Fatalf("%v never succeeded: %v", args[1:], err)
		}
	}
}
