//go:build interop

package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// The client that issuer.mjs knows, and the secret of its HS256 tokens.
const (
	clientID     = "svc"
	clientSecret = "interop-only-interop-only-interop"
	sharedSecret = "interop-only-interop-only-secret"
)

const oldestNode = 20

var httpClient = &http.Client{Timeout: 10 * time.Second}

// startProvider runs issuer.mjs and returns the URL under which its tenants are.
func startProvider(t *testing.T) string {
	t.Helper()
	const advice = "install Node.js 20.19 or later, with npm, and put both on PATH"
	node, npm := testkit.Tool(t, "node", advice), testkit.Tool(t, "npm", advice)
	version := strings.TrimSpace(string(testkit.Run(t, "", node, "--version")))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		t.Fatalf("%s is Node.js %s: %s", node, version, advice)
	}
	dir := installed(t, "oidc", []string{"package.json", "package-lock.json", "issuer.mjs"}, func(dir string) {
		testkit.Run(t, dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	cmd := exec.Command(node, "issuer.mjs")
	cmd.Dir = dir
	return serve(t, cmd)
}

// serve starts a server that prints its URL as its first line and ends when its
// input does: it ends with the test, and if the test is killed, with that too.
func serve(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first, drained := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(drained)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n') // "" tells that it ended
		first <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, r)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("ending %s: %v", cmd, err)
		}
		late.Stop()
	})
	select {
	case line := <-first:
		if !strings.HasPrefix(line, "http://127.0.0.1:") {
			t.Fatalf("%s printed %q, want its URL", cmd, line)
		}
		return line
	case <-time.After(time.Minute):
		t.Fatalf("%s printed no URL within a minute", cmd)
	}
	return ""
}

// tenant is one tenant of the provider, as its discovery document has it.
type tenant struct {
	name      string
	discovery string // the URL of the document

	Issuer      string `json:"issuer"`
	JWKS        string `json:"jwks_uri"`
	Token       string `json:"token_endpoint"`
	Backchannel string `json:"backchannel_authentication_endpoint"`
}

func discover(t *testing.T, provider, name string) *tenant {
	t.Helper()
	issuer := provider + "/tenants/" + name
	found := &tenant{name: name, discovery: issuer + "/.well-known/openid-configuration"}
	if err := json.Unmarshal(get(t, found.discovery), found); err != nil {
		t.Fatal(err)
	}
	if found.Issuer != issuer || found.JWKS == "" || found.Token == "" || found.Backchannel == "" {
		t.Fatalf("discovery of %s: %+v", name, found)
	}
	return found
}

func (n *tenant) audience() string { return "https://api." + n.name + ".test" }

// access fetches a client's access token for a resource of the tenant.
func (n *tenant) access(t *testing.T, resource string) string {
	t.Helper()
	return n.post(t, n.Token, url.Values{
		"grant_type": {"client_credentials"},
		"scope":      {"read:posts write:posts"},
		"resource":   {n.audience() + "/" + resource},
	})["access_token"]
}

// idToken fetches an ID token of a user, by an authentication that the provider
// approves at once.
func (n *tenant) idToken(t *testing.T, user string) string {
	t.Helper()
	begun := n.post(t, n.Backchannel, url.Values{"scope": {"openid"}, "login_hint": {user}})
	return n.post(t, n.Token, url.Values{
		"grant_type":  {"urn:openid:params:grant-type:ciba"},
		"auth_req_id": {begun["auth_req_id"]},
	})["id_token"]
}

// post sends a form as the client and returns the strings of the answer.
func (n *tenant) post(t *testing.T, to string, form url.Values) map[string]string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(clientID, clientSecret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var members map[string]any
	if err := json.Unmarshal(do(t, req), &members); err != nil {
		t.Fatal(err)
	}
	answer := map[string]string{}
	for name, v := range members {
		if s, ok := v.(string); ok {
			answer[name] = s
		}
	}
	return answer
}

func get(t *testing.T, from string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) []byte {
	t.Helper()
	resp, err := httpClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v\n%s", req.Method, req.URL, resp.Status, err, body)
	}
	return body
}

// headerOf decodes a token's header, so that a test can tell that the provider
// sent what it was asked for.
func headerOf(t *testing.T, token string) map[string]string {
	t.Helper()
	segment, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatalf("the header of a token: %v", err)
	}
	header := map[string]string{}
	if err := json.Unmarshal(b, &header); err != nil {
		t.Fatalf("the header of a token: %v", err)
	}
	return header
}

// environment is what a child gets of ours: nothing that could configure the
// USSO SDK, or send its requests to a proxy.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
}

// deadline bounds whatever should take no time at all.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
