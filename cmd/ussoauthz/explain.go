package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type explainCmd struct {
	Config    string            `short:"c" required:"" placeholder:"FILE" help:"The configuration file."`
	Tenant    string            `short:"t" placeholder:"ID" help:"Ask for this tenant, by its header."`
	Token     string            `placeholder:"TOKEN" help:"The bearer token; @FILE reads it from a file, @- from standard input."`
	Host      string            `placeholder:"HOST" help:"The request's host. Default: the tenant's first one."`
	Header    []string          `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"A further header; may be repeated."`
	Data      string            `short:"d" placeholder:"BODY" help:"The request's body."`
	Extension map[string]string `placeholder:"KEY=VALUE" help:"A context extension, as an Envoy route pins it."`
	JSON      bool              `help:"For machines."`
	Trace     bool              `help:"Show OPA's own trace as well."`
	Method    string            `arg:"" help:"GET, POST, …"`
	Target    string            `arg:"" help:"The path and query, or a whole URL."`
}

func (explainCmd) Help() string {
	return `Decides about one request as the service would, and prints each step of the road.
Exit code 0 where it is allowed, 1 where it is denied. Asks the tenants' issuers for
their keys. It shows the claims of the token: mind who reads along.

Examples:
  ussoauthz explain -c ussoauthz.yaml --tenant acme --token "$TOKEN" GET /posts/42
  ussoauthz explain -c ussoauthz.yaml -H "Authorization: Bearer $TOKEN" GET https://api.acme.example/posts
  ussoauthz explain -c ussoauthz.yaml --tenant acme --json GET /posts/42`
}

// Run explains.
func (c explainCmd) Run(ctx context.Context, s cli.Streams) error {
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	message, err := c.message(cfg)
	if err != nil {
		return err
	}
	road, err := service.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer road.Close()
	x := explain(ctx, road.Authorizer, message)
	if c.JSON {
		err = writeExplanationJSON(s.Out, x)
	} else {
		c.write(s.Out, x)
	}
	if err == nil && !x.Answer.Allowed {
		return cli.ErrReported
	}
	return err
}

// keysPatience is how long a first fetch of keys may take before its absence
// is the answer.
const keysPatience = 6 * time.Second

// explain asks again while the keys are on their way: the service itself would
// have fetched them at its start.
func explain(ctx context.Context, a *extauthz.Authorizer, m *extauthz.Message) *extauthz.Explanation {
	limit := time.Now().Add(keysPatience)
	for {
		answer := a.Authorize(ctx, m)
		if answer.Reason != answers.KeysUnavailable || time.Now().After(limit) || ctx.Err() != nil || failedFetch(answer.Err) {
			return a.Explain(ctx, m)
		}
	}
}

// failedFetch tells whether the issuer answered already, and badly: the error
// then says how, after "no key set yet".
func failedFetch(err error) bool { return strings.Contains(err.Error(), "yet: ") }

// message makes the request that the flags describe.
func (c explainCmd) message(cfg *config.Config) (*extauthz.Message, error) {
	m := &extauthz.Message{Method: c.Method, Host: c.Host, Target: c.Target, Extensions: httpfield.FromMap(c.Extension), Body: []byte(c.Data)}
	if strings.Contains(c.Target, "://") {
		u, err := url.Parse(c.Target)
		if err != nil {
			return nil, fmt.Errorf("reading the URL: %w", err)
		}
		m.Target = u.RequestURI()
		if m.Host == "" {
			m.Host = u.Host
		}
	}
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("the header %q has no colon: write 'Name: value'", line)
		}
		if strings.EqualFold(name, "host") {
			m.Host = strings.TrimSpace(value)
			continue
		}
		m.Headers = append(m.Headers, tenants.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	return m, c.ask(cfg, m, token)
}

func (c explainCmd) token() (string, error) {
	name, ok := strings.CutPrefix(c.Token, "@")
	if !ok {
		return c.Token, nil
	}
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 64<<10))
	return strings.TrimSpace(string(text)), err
}

// ask adds what --tenant and --token stand for.
func (c explainCmd) ask(cfg *config.Config, m *extauthz.Message, token string) error {
	source := tenants.DefaultConfig().Header
	for i := range cfg.Tenants {
		t := &cfg.Tenants[i]
		if t.ID != c.Tenant {
			continue
		}
		source = t.Header
		if m.Host == "" && len(t.Hosts) > 0 {
			m.Host = strings.Replace(t.Hosts[0], "*", "any", 1)
		}
	}
	if m.Host == "" {
		m.Host = "localhost"
	}
	if c.Tenant != "" && cfg.TenantSelection.Header != "" {
		m.Headers = append(m.Headers, tenants.Header{Name: cfg.TenantSelection.Header, Value: c.Tenant})
	}
	if token == "" {
		return nil
	}
	if source.Header == "" {
		return errors.New("the tenant takes tokens from a cookie alone: give it with -H 'Cookie: …'")
	}
	prefix := "Bearer "
	if source.Prefix != nil {
		prefix = strings.TrimSpace(*source.Prefix + " ")
		if prefix != "" {
			prefix += " "
		}
	} else if !strings.EqualFold(source.Header, "Authorization") {
		prefix = ""
	}
	m.Headers = append(m.Headers, tenants.Header{Name: source.Header, Value: prefix + token})
	return nil
}

func (c explainCmd) write(w io.Writer, x *extauthz.Explanation) {
	for _, step := range x.Steps {
		mark := "ok  "
		if !step.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(w, "%s  %-13s %s\n", mark, step.Name, step.Detail)
	}
	if x.Policy != nil {
		writePositions(w, "fired", x.Policy.Fired)
		writePositions(w, "failed", x.Policy.Failed)
		for _, note := range x.Policy.Notes {
			fmt.Fprintf(w, "      note          %s\n", note)
		}
		if c.Trace {
			fmt.Fprintf(w, "\n%s\n", x.Policy.Trace)
		}
	}
	a := x.Answer
	if a.Allowed {
		fmt.Fprintln(w, "\nallowed")
		for _, h := range a.Headers {
			fmt.Fprintf(w, "  set    %s: %s\n", h.Name, h.Value)
		}
		for _, name := range a.RemoveHeaders {
			fmt.Fprintf(w, "  remove %s\n", name)
		}
		return
	}
	fmt.Fprintf(w, "\ndenied: %d %s %s\n%s\n", a.Status, a.Reason, a.Body, x.Advice)
}

func writePositions(w io.Writer, what string, list []policy.Position) {
	for _, p := range list {
		fmt.Fprintf(w, "      %-13s %s:%d: %s\n", what, p.File, p.Line, p.Text)
	}
}

func writeExplanationJSON(w io.Writer, x *extauthz.Explanation) error {
	a := x.Answer
	out := map[string]any{
		"allowed": a.Allowed, "reason": a.Reason, "status": a.Status, "tenant": a.Tenant, "sub": a.Subject,
		"route": a.Route, "advice": x.Advice, "steps": x.Steps, "policy_revision": a.PolicyRevision,
		"headers_to_remove": a.RemoveHeaders,
	}
	headers := map[string]string{}
	for _, h := range a.Headers {
		headers[h.Name] = h.Value
	}
	out["headers"] = headers
	if !a.Allowed {
		out["body"] = json.RawMessage(jsonOrString(a.Body))
	}
	if x.Policy != nil {
		out["fired"], out["failed"], out["notes"] = x.Policy.Fired, x.Policy.Failed, x.Policy.Notes
		out["input"] = json.RawMessage(jsonOrString([]byte(x.Policy.Input)))
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

func jsonOrString(text []byte) []byte {
	if json.Valid(text) {
		return text
	}
	quoted, err := json.Marshal(string(text))
	if err != nil { // a string always marshals
		return []byte("null")
	}
	return quoted
}
