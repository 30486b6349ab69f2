package decisiontest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/explain"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/testreport"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Runner runs cases through the pipeline of one configuration. Close it after use.
type Runner struct {
	snapshot *service.Snapshot
	signers  map[string]*signer
	dir      string
}

// minTimeout is what a policy gets at least for one evaluation: a busy CI
// machine must not fail a case.
const minTimeout = 2 * time.Second

// Open builds the snapshot, with keys of its own in place of the tenants'. It asks
// no network.
func Open(ctx context.Context, cfg *config.Config) (*Runner, error) {
	dir, err := os.MkdirTemp("", "ussoauthz-test-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for keys: %w", err)
	}
	r := &Runner{dir: dir}
	changed, signers, err := rekey(cfg, dir)
	if err == nil {
		changed.Policy.Timeout = max(changed.Policy.Timeout, minTimeout)
		changed.Revocation = config.Revocation{} // of tokens that others minted
		r.signers = signers
		r.snapshot, err = service.Open(ctx, changed, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close releases the snapshot and the keys.
func (r *Runner) Close() {
	if r.snapshot != nil {
		r.snapshot.Close()
	}
	_ = os.RemoveAll(r.dir) // public keys of nobody
}

// Run runs every case of a suite.
func (r *Runner) Run(ctx context.Context, s Suite) []testreport.Result {
	results := make([]testreport.Result, 0, len(s.Cases))
	for i := range s.Cases {
		c := &s.Cases[i]
		result := testreport.Result{Suite: filepath.ToSlash(s.File), Name: c.Name, File: s.File, Line: c.Line}
		start := time.Now()
		r.one(ctx, c, &result)
		result.Duration = time.Since(start)
		results = append(results, result)
	}
	return results
}

func (r *Runner) one(ctx context.Context, c *Case, result *testreport.Result) {
	m := c.Request.message()
	if err := r.sign(ctx, c, m); err != nil {
		result.Outcome, result.Problem = policy.TestErrored, err.Error()+"\n"
		return
	}
	answer := r.snapshot.Authorizer.Authorize(ctx, m)
	differences := c.Expect.compare(m, answer)
	if len(differences) == 0 {
		result.Outcome = policy.TestPassed
		return
	}
	result.Outcome = policy.TestFailed
	result.Problem = "--- expected\n+++ got\n" + strings.Join(differences, "\n") + "\n"
	result.Output = trace(r.snapshot.Authorizer.Explain(ctx, m))
}

func (q Request) message() *extauthz.Message {
	m := &extauthz.Message{
		Method: q.Method, Host: q.Host, Target: q.Path, Extensions: httpfield.FromMap(q.Extensions), Body: []byte(q.Body),
	}
	for _, h := range q.Headers {
		m.Headers = append(m.Headers, tenants.Header(h))
	}
	m.Attributes = func() (any, error) { return explain.Attributes(m), nil }
	return m
}

// sign gives the message its token: of the tenant that the case names, or of
// the one that the request selects, which the snapshot itself selects.
func (r *Runner) sign(ctx context.Context, c *Case, m *extauthz.Message) error {
	if c.Token.Kind == None {
		return nil
	}
	selected := r.snapshot.Authorizer.Authorize(ctx, m).Tenant
	by := c.SignedBy
	if by == "" {
		by = selected
	}
	s := r.signers[by]
	if s == nil {
		return errors.New("the request selects no tenant, so nobody signs its token: name one with signed_by")
	}
	token, err := s.mint(c.Token)
	if err != nil {
		return err
	}
	source := tenants.DefaultConfig().Header
	if t := r.signers[selected]; t != nil {
		source = t.tenant.Header
	}
	return attachToken(m, source, token, c.InCookie)
}

// attachToken puts the token where the tenant looks for it.
func attachToken(m *extauthz.Message, source tenants.TokenSource, token string, cookie bool) error {
	switch {
	case cookie && source.Cookie == "":
		return errors.New("token_in: the tenant takes no cookie")
	case cookie || source.Header == "":
		m.Headers = append(m.Headers, tenants.Header{Name: "cookie", Value: source.Cookie + "=" + token})
		return nil
	}
	prefix := ""
	switch {
	case source.Prefix != nil:
		prefix = *source.Prefix
	case strings.EqualFold(source.Header, "Authorization"):
		prefix = "Bearer"
	}
	m.Headers = append(m.Headers, tenants.Header{Name: source.Header, Value: strings.TrimLeft(prefix+" "+token, " ")})
	return nil
}

// compare returns the lines of a diff: what was expected, and what came instead.
func (e *Expect) compare(m *extauthz.Message, a *extauthz.Answer) []string {
	var diff []string
	differ := func(what, want, got string) {
		if want != got {
			diff = append(diff, "- "+what+": "+want, "+ "+what+": "+got)
		}
	}
	status := a.Status
	if a.Allowed {
		status = http.StatusOK
	}
	if e.Status != nil {
		differ("status", fmt.Sprint(*e.Status), fmt.Sprint(status))
	}
	if e.Reason != nil {
		differ("reason", *e.Reason, string(a.Reason))
	}
	if e.Detail != nil {
		differ("detail", quote(e.Detail), quote(detail(a)))
	}
	if e.Body != nil {
		body := string(a.Body)
		differ("body", quote(e.Body), quote(&body))
	}
	upstream := upstream(m, a)
	for _, name := range slices.Sorted(maps.Keys(e.Upstream)) {
		if upstream == nil {
			differ("upstream "+name, quote(e.Upstream[name]), "nothing went upstream")
			continue
		}
		differ("upstream "+name, quote(e.Upstream[name]), quote(lookup(upstream, name)))
	}
	for _, name := range e.Removed {
		if !slices.Contains(a.RemoveHeaders, name) {
			differ("removed", name, fmt.Sprintf("%q", a.RemoveHeaders))
		}
	}
	response := explain.Joined(a.ResponseHeaders)
	if !a.Allowed {
		response = explain.Joined(a.Headers)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Response)) {
		differ("response "+name, quote(e.Response[name]), quote(lookup(response, name)))
	}
	return diff
}

func quote(s *string) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%q", *s)
}

func lookup(headers map[string]string, name string) *string {
	value, ok := headers[name]
	if !ok {
		return nil
	}
	return &value
}

// detail is the denial's, nil where the policy wrote a body of its own.
func detail(a *extauthz.Answer) *string {
	var body struct{ Detail *string }
	if a.Allowed || json.Unmarshal(a.Body, &body) != nil {
		return nil
	}
	return body.Detail
}

// upstream is the header block that the application gets, nil for a denial.
func upstream(m *extauthz.Message, a *extauthz.Answer) map[string]string {
	if !a.Allowed {
		return nil
	}
	headers := explain.Joined(m.Headers)
	for _, name := range a.RemoveHeaders {
		delete(headers, name)
	}
	maps.Copy(headers, explain.Joined(a.Headers)) // they overwrite
	return headers
}

// trace tells why the answer is what it is.
func trace(x *extauthz.Explanation) string {
	var b strings.Builder
	_ = explain.Text{Out: &b}.Write(x) // a Builder takes everything
	return b.String()
}
