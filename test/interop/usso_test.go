//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// sdk is the real USSO SDK in an environment of its own.
type sdk struct{ python, script string }

func installSDK(t *testing.T) sdk {
	t.Helper()
	const advice = "install Python 3.11 or later, with venv and pip (Debian: python3-venv), and put python3 on PATH"
	python := testkit.Tool(t, "python3", advice)
	var minor int
	version := strings.TrimSpace(string(testkit.Run(t, "", python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")))
	if _, err := fmt.Sscanf(version, "3.%d", &minor); err != nil || minor < 11 {
		t.Fatalf("%s is Python %s: %s", python, version, advice)
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import ensurepip, venv").CombinedOutput(); err != nil {
		t.Fatalf("%s can't make environments: %v; %s\n%s", python, err, advice, out)
	}
	dir := installed(t, "usso", []string{"requirements.txt", "scopes.py", "verify.py"}, func(dir string) {
		testkit.Run(t, dir, python, "-m", "venv", "venv")
		testkit.Run(t, dir, filepath.Join(dir, "venv", "bin", "python"), "-m", "pip", "install", "--quiet",
			"--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "-r", "requirements.txt")
	})
	return sdk{python: filepath.Join(dir, "venv", "bin", "python"), script: filepath.Join(dir, "verify.py")}
}

// sdkCase is one token for the SDK, and how the SDK is configured for it.
type sdkCase struct {
	Name      string         `json:"name"`
	Token     string         `json:"token"`
	TokenType string         `json:"token_type"`
	Config    map[string]any `json:"config"`
	Request   *sdkRequest    `json:"request,omitempty"` // where to look for a token, instead of one
}

// verdict is what one side says about one token.
type verdict struct {
	Name     string  `json:"name"`
	Accepted bool    `json:"accepted"`
	Error    string  `json:"error"` // the SDK's class and text
	User     account `json:"user"`

	Found string `json:"found"` // in a request: jwt, jwe, api key or none
	Value string `json:"value"`
}

// account holds what both sides tell of a user. A date of 0 is a missing one.
type account struct {
	UserID      string   `json:"user_id"`
	Subject     string   `json:"sub"`
	TenantID    string   `json:"tenant_id"`
	WorkspaceID string   `json:"workspace_id"`
	Roles       []string `json:"roles"`
	Scopes      []string `json:"scopes"`
	TokenType   string   `json:"token_type"`
	SessionID   string   `json:"session_id"`
	ID          string   `json:"jti"`
	Issuer      string   `json:"iss"`
	Expiry      int64    `json:"exp"`
	NotBefore   int64    `json:"nbf"`
	IssuedAt    int64    `json:"iat"`
}

func accountOf(id *jwtverify.Identity) account {
	seconds := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return at.Unix()
	}
	return account{
		UserID: id.UserID, Subject: id.Subject, TenantID: id.TenantID, WorkspaceID: id.WorkspaceID,
		Roles: id.Roles, Scopes: id.Scopes, TokenType: id.TokenType, SessionID: id.SessionID, ID: id.ID,
		Issuer: id.Issuer, Expiry: seconds(id.Expiry), NotBefore: seconds(id.NotBefore), IssuedAt: seconds(id.IssuedAt),
	}
}

// judge has the SDK judge all cases at one instant.
func (s sdk) judge(t *testing.T, now time.Time, sdkCases []sdkCase) map[string]verdict {
	t.Helper()
	work, err := json.Marshal(map[string]any{"now": now.Unix(), "cases": sdkCases})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(file, work, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.python, "-I", s.script, file)
	cmd.Env = environment()
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	answers := map[string]verdict{}
	for line := range bytes.Lines(out) {
		var v verdict
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if v.Accepted && v.User.TokenType == "" {
			v.User.TokenType = "access" // the SDK accepts a missing one as that, and leaves it missing
		}
		answers[v.Name] = v
	}
	if len(answers) != len(sdkCases) {
		t.Fatalf("%d answers to %d cases", len(answers), len(sdkCases))
	}
	return answers
}

// TestUSSOSDK gives the same tokens to the SDK and to a Verifier of the same
// configuration. They must agree on each token and on whom it speaks for,
// unless docs/divergences.md lists the case, and then they must differ.
func TestUSSOSDK(t *testing.T) {
	s := installSDK(t)
	listed := testkit.ReadDivergences(t, "The USSO SDK: tokens")
	b := newBench(t)
	cases := b.cases()
	sdkCases := make([]sdkCase, len(cases))
	for i, c := range cases {
		sdkCases[i] = sdkCase{Name: c.name, Token: c.token, TokenType: "access", Config: b.sdkConfig(t, c.setup)}
		if len(c.setup.tokenTypes) > 0 {
			sdkCases[i].TokenType = c.setup.tokenTypes[0]
		}
	}
	theirs := s.judge(t, b.now, sdkCases)
	before := b.server.Fetches()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { b.compare(t, c, theirs[c.name], listed.Find(c.name)) })
	}
	listed.Finish(t)
	t.Logf("%d tokens, %d deliberate differences; keys fetched %d times by the SDK, %d times by us",
		len(cases), listed.Len(), before, b.server.Fetches()-before)
}

// verdictOf is how docs/divergences.md begins the cell of a side.
func verdictOf(accepted bool) string {
	if accepted {
		return "accepts"
	}
	return "refuses"
}

// compare judges one token and holds the SDK's verdict against ours. listed is
// the case's row of docs/divergences.md, nil where it has none.
func (b *bench) compare(t *testing.T, c comparison, theirs verdict, listed *testkit.Divergence) {
	if theirs.Accepted != (c.sdk == "") || !strings.Contains(theirs.Error, c.sdk) {
		t.Errorf("the SDK says %q (accepted: %t), want %q", theirs.Error, theirs.Accepted, c.sdk)
	}
	ours := verdict{Name: c.name}
	id, err := b.verify(t, c)
	if failure := outcome(id, err, c.want); failure != "" {
		t.Error(failure)
	}
	if err == nil {
		ours.Accepted, ours.User = true, accountOf(id)
	}
	theirs.Error = ""
	diff := cmp.Diff(theirs, ours, cmpopts.EquateEmpty())
	switch {
	case diff == "" && listed != nil:
		t.Errorf("%v says that the SDK and we differ, but we agree: %v", listed, err)
	case diff == "":
	case listed == nil:
		t.Errorf("the SDK and we differ, and docs/divergences.md does not say so (-SDK +ours, %v):\n%s", err, diff)
	case !strings.HasPrefix(listed.There, verdictOf(theirs.Accepted)) || !strings.HasPrefix(listed.Here, verdictOf(ours.Accepted)):
		t.Errorf("%v says %q there and %q here; the SDK %s, and ours %s", listed, listed.There, listed.Here, verdictOf(theirs.Accepted), verdictOf(ours.Accepted))
	}
}

// bench holds the keys that mint, and the server that publishes them.
type bench struct {
	t   *testing.T
	now time.Time // of both sides

	issuer   *jwttest.Issuer // of every asymmetric algorithm
	stranger *jwttest.Issuer // trusted by nobody
	long     *jwttest.Issuer // RSA of 3072 bits
	secrets  *jwttest.Issuer // HS256
	ed25519  ed25519.PrivateKey
	rsa      *rsa.PrivateKey
	p521     *ecdsa.PrivateKey

	server  *jwttest.Server
	sets    map[string][]byte // further key sets, by name
	fetcher *jwks.Fetcher
	opened  map[string]*jwks.RemoteKeySet
}

// setup is one configuration, for both sides.
type setup struct {
	set        string   // a key set other than the issuer's
	pem        string   // a public key instead of a key set
	alg        string   // the algorithm of pem or secret
	secret     []byte   // a shared secret instead of a key set
	issuers    []string // nil: the issuer
	audiences  []string // nil: one
	tokenTypes []string // nil: access
	tenantIDs  []string // nil: any; the SDK has no such thing
	claims     map[string]string
	leeway     time.Duration
}

const (
	testIssuer   = "https://sso.acme.example"
	testAudience = "my-app"
)

func (c setup) values() (issuers, audiences []string) {
	issuers, audiences = c.issuers, c.audiences
	if issuers == nil {
		issuers = []string{testIssuer}
	}
	if audiences == nil {
		audiences = []string{testAudience}
	}
	return issuers, audiences
}

func (b *bench) jwksURL(set string) string {
	if set == "" {
		return b.server.JWKSURL()
	}
	return b.server.JWKSURL() + "?set=" + url.QueryEscape(set)
}

// sdkConfig is the SDK's JWTConfig; one value is a string there, as users write it.
func (b *bench) sdkConfig(t *testing.T, c setup) map[string]any {
	t.Helper()
	oneOrList := func(list []string) any {
		if len(list) == 1 {
			return list[0]
		}
		return list
	}
	issuers, audiences := c.values()
	cfg := map[string]any{"issuer": oneOrList(issuers), "audience": oneOrList(audiences)}
	switch {
	case c.pem != "":
		cfg["key"], cfg["type"] = c.pem, c.alg
	case c.secret != nil:
		cfg["key"], cfg["type"] = string(c.secret), c.alg
	default:
		cfg["jwks_url"] = b.jwksURL(c.set)
	}
	return cfg
}

// errKey is our refusal of a key in the configuration, which no token comes to.
var errKey = errors.New("the key is refused")

// verify is our verdict.
func (b *bench) verify(t *testing.T, c comparison) (*jwtverify.Identity, error) {
	t.Helper()
	if c.setup.pem != "" {
		if _, err := jwtverify.ParsePEM([]byte(c.setup.pem), jwtverify.Algorithm(c.setup.alg)); err != nil {
			return nil, fmt.Errorf("%w: %w", errKey, err)
		}
	}
	return b.verifier(t, c.setup).Verify(t.Context(), c.token)
}

// verifier is ours of the same configuration, at the same instant.
func (b *bench) verifier(t *testing.T, c setup) *jwtverify.Verifier {
	t.Helper()
	issuers, audiences := c.values()
	cfg := jwtverify.Config{
		Keys: b.keys(t, c), Issuers: issuers, Audiences: audiences, TokenTypes: c.tokenTypes,
		TenantIDs: c.tenantIDs, Claims: c.claims, Leeway: c.leeway,
		Now: func() time.Time { return b.now },
	}
	if c.secret != nil {
		cfg.Algorithms = []jwtverify.Algorithm{jwtverify.HS256}
	}
	v, err := jwtverify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *bench) keys(t *testing.T, c setup) jwtverify.KeySet {
	t.Helper()
	if c.pem == "" && c.secret == nil {
		return b.remote(t, c.set)
	}
	var key *jwtverify.Key
	var err error
	if c.pem != "" {
		key, err = jwtverify.ParsePEM([]byte(c.pem), jwtverify.Algorithm(c.alg))
	} else {
		key, err = jwtverify.NewSecretKey(c.secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwtverify.NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// remote fetches a key set of the server once for all cases.
func (b *bench) remote(t *testing.T, name string) *jwks.RemoteKeySet {
	t.Helper()
	if set := b.opened[name]; set != nil {
		return set
	}
	set, err := b.fetcher.Open(jwks.RemoteConfig{URL: b.jwksURL(name)})
	if err != nil {
		t.Fatal(err)
	}
	b.t.Cleanup(set.Close) // lives as long as all cases
	awaitFetch(t, set)
	b.opened[name] = set
	return set
}
