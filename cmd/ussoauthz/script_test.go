package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/testkit/clitest"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
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
		Cmds: scriptCommands(t),
	})
}

// scriptCommands are those of clitest, and
//
//	check VARIABLE ADDRESS METHOD HOST PATH [TOKEN]   asks a service as Envoy does, and puts the decision's id into a variable
//	redis VARIABLE                                    starts a Redis, and puts the path of its socket into a variable
func scriptCommands(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	all := clitest.Commands()
	all["check"] = check
	all["redis"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: redis VARIABLE")
		}
		ts.Setenv(args[0], strings.TrimPrefix(redistest.Start(t).URL, "unix://"))
	}
	return all
}

func check(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 || len(args) > 6 {
		ts.Fatalf("usage: check VARIABLE ADDRESS METHOD HOST PATH [TOKEN]")
	}
	conn, err := grpc.NewClient(args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	defer func() { _ = conn.Close() }()
	headers := map[string]string{":method": args[2], ":authority": args[3], ":path": args[4]}
	if len(args) > 5 {
		headers["authorization"] = "Bearer " + args[5]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: args[2], Host: args[3], Path: args[4], Headers: headers,
		}},
	}})
	ts.Check(err)
	id := response.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	if id == "" {
		ts.Fatalf("no decision id: %v", response)
	}
	ts.Setenv(args[0], id)
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
