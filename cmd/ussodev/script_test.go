package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ussoio/ussoauthz/internal/testkit/clitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ussodev": main})
}

// TestScripts runs what a user types, in processes of their own. A new script
// needs no more than its file.
func TestScripts(t *testing.T) {
	demo, err := filepath.Abs("../../demo/ussoauthz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                clitest.Commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DEMO", demo)
			return nil
		},
	})
}
