package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ussoio/ussoauthz/internal/clitest"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ussoauthz": main, "onterminal": clitest.OnTerminal})
}

// Each script is a session as a user has it, in processes of their own. A new
// one needs no more than its file.
func TestScripts(t *testing.T) {
	demo, err := filepath.Abs("../../demo/ussoauthz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DEMO", demo)
			env.Setenv("DEMODIR", filepath.Dir(demo))
			return keys(env)
		},
		Cmds: clitest.Commands(),
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
