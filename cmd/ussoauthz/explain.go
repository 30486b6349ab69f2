package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/curl"
	"github.com/ussoio/ussoauthz/internal/explain"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type explainCmd struct {
	Config    string
	Tenant    string
	Token     string
	Host      string
	Header    []string
	Data      string
	Extension map[string]string
	Curl      string
	Log       []string
	ID        string
	JSON      bool
	Trace     bool
	Color     string
	Request   []string // METHOD and TARGET: the path with its query, or a whole URL; or a curl command line
}

// command is "explain" of the command line.
func (c *explainCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain -c FILE [METHOD TARGET | -- curl ...]",
		Short: "Show each step of a decision about one request.",
		Long: `Decides about one request as the service would, and prints each step of the check
with its outcome. A denial ends with what the request lacks, or with the rule that
denied it. METHOD and TARGET are the request: TARGET is the path with its query, or a
whole URL. Exit code 0 where it is allowed, 1 where it is denied. Asks the tenants'
issuers for their keys. It shows the claims of the token, though never the token
itself: mind who reads along.

Of a curl command line the request counts and nothing is sent. A flag of curl that
is not known here is an error, since it could change the request.

Of a recorded decision it shows what the decision log holds. Where that has the input
too (decision_log: {input: true}), the policy of the configuration is asked about it
again: exit code 0 where the answer is the same today, 1 where it is another one.`,
		Example: `  ussoauthz explain -c ussoauthz.yaml --tenant acme --token "$TOKEN" GET /posts/42
  ussoauthz explain -c ussoauthz.yaml -H "Authorization: Bearer $TOKEN" GET https://api.acme.example/posts
  ussoauthz explain -c ussoauthz.yaml -- curl -X POST -b "access_token=$TOKEN" --json '{}' https://api.acme.example/posts
  ussoauthz explain -c ussoauthz.yaml --curl @- < copied-from-the-browser.txt
  ussoauthz explain -c ussoauthz.yaml --tenant acme --json GET /posts/42
  ussoauthz explain -c ussoauthz.yaml --log decisions.jsonl --id 8c1f…`,
		Args:    cobra.ArbitraryArgs,
		PreRunE: c.read,
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`.")
	flags.StringVarP(&c.Tenant, "tenant", "t", "", "Ask for the tenant with this `ID`, by its header.")
	flags.StringVar(&c.Token, "token", "", "The bearer `TOKEN`; @FILE reads it from a file, @- from standard input.")
	flags.StringVar(&c.Host, "host", "", "The request's `HOST`. Default: the tenant's first one.")
	flags.StringArrayVarP(&c.Header, "header", "H", nil, "A further header `'NAME: VALUE'`; may be repeated.")
	flags.StringVarP(&c.Data, "data", "d", "", "The request's `BODY`.")
	flags.Var((*cli.Pairs)(&c.Extension), "extension", "A context extension `NAME=VALUE`, as an Envoy route pins it; may be repeated.")
	flags.StringVar(&c.Curl, "curl", "", "The request as a `COMMAND` line of curl, as a browser copies it; @FILE reads it from a file, @- from standard input.")
	flags.StringArrayVar(&c.Log, "log", nil, "Show a decision that was recorded in this `FILE` of the decision log, and what the policy says of it today; may be repeated.")
	flags.StringVar(&c.ID, "id", "", "With --log: the decision's `ID`.")
	flags.BoolVar(&c.JSON, "json", false, "For machines.")
	flags.BoolVar(&c.Trace, "trace", false, "Show OPA's own trace as well.")
	flags.Var(cli.OneOf(&c.Color, "auto", "always", "never"), "color", "auto: on a terminal, unless NO_COLOR is set.")
	cli.Require(cmd, "config")
	return cmd
}

// read takes the arguments, and finds what is wrong with the command line.
func (c *explainCmd) read(_ *cobra.Command, args []string) error {
	c.Request = args
	return c.validate()
}

func (c *explainCmd) validate() error {
	switch {
	case (len(c.Log) > 0) != (c.ID != ""):
		return errors.New("a recorded decision needs both --log FILE and --id ID")
	case c.ID != "" && (c.isCurl() || len(c.Request) > 0 || c.Tenant != "" || c.Token != "" || c.Host != "" || len(c.Header) > 0 || c.Data != "" || len(c.Extension) > 0):
		return errors.New("a recorded decision has its request: give none beside --log")
	case c.ID != "":
		return nil
	case c.Curl != "" && len(c.Request) > 0:
		return errors.New("give the request once: by --curl, or as arguments")
	case c.isCurl() && (c.Host != "" || len(c.Header) > 0 || c.Data != ""):
		return errors.New("host, headers and data belong into the curl command line")
	case c.isCurl() || len(c.Request) == 2:
		return nil
	}
	return errors.New(`expected METHOD and TARGET, like "GET /posts/42", or a curl command line`)
}

func (c explainCmd) isCurl() bool {
	return c.Curl != "" || len(c.Request) > 0 && c.Request[0] == "curl"
}

// run explains.
func (c *explainCmd) run(ctx context.Context, s cli.Streams) error {
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	if c.ID != "" {
		return c.replay(ctx, cfg, s)
	}
	message, err := c.message(cfg)
	if err != nil {
		return err
	}
	done := terminal.Progress(s.Err, "loading policies and keys")
	defer done() // where it returns early
	snapshot, err := service.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer snapshot.Close()
	x := explainWhenKeysArrive(ctx, snapshot.Authorizer, message)
	done()
	if c.JSON {
		err = explain.JSON(s.Out, x)
	} else {
		err = explain.Text{Out: s.Out, Color: terminal.Colored(c.Color, s.Out), Trace: c.Trace}.Write(x)
	}
	if err == nil && !x.Answer.Allowed {
		return cli.ErrReported
	}
	return err
}

// replay explains a recorded decision.
func (c explainCmd) replay(ctx context.Context, cfg *config.Config, s cli.Streams) error {
	done := terminal.Progress(s.Err, "looking for "+c.ID)
	defer done() // where it returns early
	file, record, err := c.find()
	if err != nil {
		return err
	}
	engine, err := service.OpenPolicy(ctx, cfg)
	if err != nil {
		return err
	}
	carrier := ""
	for i := range cfg.Tenants {
		if cfg.Tenants[i].ID == record.Tenant {
			carrier = cfg.Tenants[i].Header.Header
		}
	}
	x, err := explain.Replay(ctx, file, record, engine, carrier)
	if err != nil {
		return err
	}
	done()
	if c.JSON {
		err = explain.RecordedJSON(s.Out, x)
	} else {
		err = explain.Text{Out: s.Out, Color: terminal.Colored(c.Color, s.Out), Trace: c.Trace}.WriteRecorded(x)
	}
	if err == nil && x.Today != nil && !x.Today.Same {
		return cli.ErrReported
	}
	return err
}

// find looks for the decision in each file.
func (c explainCmd) find() (file string, record *decisionlog.Record, err error) {
	for _, file := range c.Log {
		record, err := decisionlog.Find(file, c.ID)
		if !errors.Is(err, decisionlog.ErrNotFound) {
			return file, record, err
		}
	}
	return "", nil, fmt.Errorf("%w in %s: %q (rotated files have the time behind their name; sample_allows leaves allows out)", decisionlog.ErrNotFound, strings.Join(c.Log, ", "), c.ID)
}

// keysTimeout is how long a first fetch of keys may take before its absence
// is the answer.
const keysTimeout = 6 * time.Second

// explainWhenKeysArrive asks again while the keys are on their way: the service
// itself would have fetched them at its start.
func explainWhenKeysArrive(ctx context.Context, a *extauthz.Authorizer, m *extauthz.Message) *extauthz.Explanation {
	limit := time.Now().Add(keysTimeout)
	for {
		x := a.Explain(ctx, m)
		if x.Answer.Reason != answers.KeysUnavailable || time.Now().After(limit) || ctx.Err() != nil || failedFetch(x.Answer.Err) {
			return x
		}
	}
}

// failedFetch tells whether the issuer answered already, and badly: the error
// then says how, after "no key set yet".
func failedFetch(err error) bool { return err == nil || strings.Contains(err.Error(), "yet: ") }

// message makes the request that the command line describes.
func (c explainCmd) message(cfg *config.Config) (*extauthz.Message, error) {
	m, err := c.request()
	if err != nil {
		return nil, err
	}
	m.Extensions = httpfield.FromMap(c.Extension)
	m.Attributes = func() (any, error) { return explain.Attributes(m), nil }
	token, err := argument(c.Token, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	return m, c.check(cfg, m, strings.TrimSpace(token))
}

func (c explainCmd) request() (*extauthz.Message, error) {
	if c.isCurl() {
		r, err := c.curl()
		if err != nil {
			return nil, fmt.Errorf("reading the curl command line: %w", err)
		}
		return &extauthz.Message{Method: r.Method, Host: r.Host, Target: r.Target, Headers: r.Headers, Body: r.Body}, nil
	}
	m := &extauthz.Message{Method: c.Request[0], Host: c.Host, Target: c.Request[1], Body: []byte(c.Data)}
	if strings.Contains(m.Target, "://") {
		u, err := url.Parse(m.Target)
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
	return m, nil
}

func (c explainCmd) curl() (*curl.Request, error) {
	read := func(name string) ([]byte, error) {
		text, err := argument("@"+name, 16<<20)
		return []byte(text), err
	}
	if c.Curl == "" {
		return curl.Parse(c.Request, read)
	}
	line, err := argument(c.Curl, 1<<20)
	if err != nil {
		return nil, err
	}
	return curl.ParseLine(line, read)
}

// argument is the value of a flag: what it says, or what is in the file that
// follows an @, of which it reads most bytes.
func argument(value string, most int64) (string, error) {
	name, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if int64(len(text)) > most {
		return "", fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return string(text), err
}

// check adds what --tenant and --token stand for.
func (c explainCmd) check(cfg *config.Config, m *extauthz.Message, token string) error {
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
