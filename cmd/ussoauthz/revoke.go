package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ussoio/ussoauthz/internal/cli"
	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/internal/terminal"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type revokeCmd struct {
	Config  string
	Tenant  string
	JTI     *string
	Session *string
	Sub     *string
	All     bool
	Before  string
	Expires string
}

const redisWait = 10 * time.Second

// command is "revoke" of the command line.
func (c *revokeCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke -c FILE -t ID",
		Short: "Refuse tokens before they expire.",
		Long: `Writes an entry where the configuration's revocation section says: to the file, to
Redis, or to both. Services that read it refuse the tokens with token_revoked within a second.`,
		Example: `  ussoauthz revoke -c ussoauthz.yaml --tenant acme --jti 6f1c2b --expires 1h
  ussoauthz revoke -c ussoauthz.yaml --tenant acme --session s-42 --expires 720h
  ussoauthz revoke -c ussoauthz.yaml --tenant acme --sub user:alice
  ussoauthz revoke -c ussoauthz.yaml --tenant acme --all --before 2026-01-31T12:00:00Z`,
		Args:    cli.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return c.validate(cmd.Flags()) },
		RunE:    cli.RunE(c.run),
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.Config, "config", "c", "", "The configuration `FILE`: its revocation section says where entries go.")
	flags.StringVarP(&c.Tenant, "tenant", "t", "", "The `ID` of the tenant whose tokens are revoked.")
	flags.Var(given{&c.JTI}, "jti", "The token with this jti.")
	flags.Var(given{&c.Session}, "session", "The tokens with this session_id.")
	flags.Var(given{&c.Sub}, "sub", "The tokens with this sub or user_id, issued before --before.")
	flags.BoolVar(&c.All, "all", false, "All of the tenant's tokens, issued before --before.")
	flags.StringVar(&c.Before, "before", "", "With --sub and --all: a `TIME` like 2026-01-31T12:00:00Z. Default: now.")
	flags.StringVar(&c.Expires, "expires", "2160h", "When the entry may go, as `DURATION|TIME`: not before the tokens have expired; 2160h are 90 days.")
	cli.Require(cmd, "config", "tenant")
	return cmd
}

// given is the value of a flag that keeps whether it was written: an empty one
// is another thing than none.
type given struct{ value **string }

// Set, String and Type are what flags ask for.
func (g given) Set(value string) error {
	*g.value = &value
	return nil
}

func (given) String() string { return "" } // no flag has a default

// Type is the placeholder in the help.
func (given) Type() string { return "ID" }

// validate finds what is wrong with the command line.
func (c *revokeCmd) validate(flags *pflag.FlagSet) error {
	named := 0
	for _, name := range []*string{c.JTI, c.Session, c.Sub} {
		if name != nil && isFlag(flags, *name) {
			return fmt.Errorf("--jti, --session and --sub need a value, and %q is a flag: is the variable empty? Write it in quotes", *name)
		}
		if name != nil && *name == "" { // a variable that is not set: it must not mean everyone
			return errors.New("--jti, --session and --sub need a value that is not empty")
		}
		if name != nil {
			named++
		}
	}
	if c.All {
		named++
	}
	switch {
	case named != 1:
		return errors.New("write one of --jti, --session, --sub and --all")
	case c.Before != "" && c.Sub == nil && !c.All:
		return errors.New("--before goes with --sub and --all")
	}
	_, err := c.entry(time.Now())
	return err
}

// isFlag tells whether a value is a flag of the command: with $ID empty and
// without quotes, "--jti $ID --all" is one of "--all". An id may begin with
// dashes all the same.
func isFlag(flags *pflag.FlagSet, value string) bool {
	name, _, _ := strings.Cut(value, "=")
	if long, ok := strings.CutPrefix(name, "--"); ok {
		return long == "" || flags.Lookup(long) != nil
	}
	short, ok := strings.CutPrefix(name, "-")
	return ok && len(short) == 1 && flags.ShorthandLookup(short) != nil
}

// entry is what the command line asks for at a time.
func (c revokeCmd) entry(now time.Time) (revocation.Entry, error) {
	e := revocation.Entry{Tenant: c.Tenant}
	switch {
	case c.JTI != nil:
		e.ID = *c.JTI
	case c.Session != nil:
		e.Session = *c.Session
	case c.Sub != nil:
		e.Subject = *c.Sub
	}
	var err error
	if c.Sub != nil || c.All {
		e.Before = now
		if c.Before != "" {
			if e.Before, err = time.Parse(time.RFC3339, c.Before); err != nil {
				return e, fmt.Errorf("--before is %q: write a time, like 2026-01-31T12:00:00Z", c.Before)
			}
		}
	}
	if length, err := time.ParseDuration(c.Expires); err == nil && length > 0 {
		e.Expires = now.Add(length)
	} else if e.Expires, err = time.Parse(time.RFC3339, c.Expires); err != nil || !e.Expires.After(now) {
		return e, fmt.Errorf("--expires is %q: write a duration, like 24h, or a time to come, like 2126-01-31T12:00:00Z", c.Expires)
	}
	e.Before, e.Expires = e.Before.UTC(), e.Expires.Truncate(time.Second).Add(time.Second)
	return e, nil
}

// run writes the entry.
func (c *revokeCmd) run(_ context.Context, s cli.Streams) error {
	cfg, err := load(c.Config, s)
	if err != nil {
		return err
	}
	known := func(t tenants.Config) bool { return t.ID == c.Tenant }
	switch {
	case !cfg.Revocation.Enabled():
		return fmt.Errorf("%s has no revocation section: nobody would read the entry", c.Config)
	case !slices.ContainsFunc(cfg.Tenants, known):
		return fmt.Errorf("%s has no tenant %q", c.Config, c.Tenant)
	}
	return c.write(cfg, s)
}

func (c revokeCmd) write(cfg *config.Config, s cli.Streams) error {
	e, err := c.entry(time.Now())
	if err != nil {
		return err
	}
	line, err := e.Line()
	if err != nil {
		return err
	}
	// Where one fails the other is written still: it is in force for those who
	// read it.
	var failed []error
	told := func(to string, err error) {
		if err != nil {
			failed = append(failed, fmt.Errorf("writing the revocation to %s: %w", to, err))
			return
		}
		fmt.Fprintf(s.Out, "%s: %s\n", to, line)
	}
	if r := cfg.Revocation.Redis; r.Enabled() {
		ctx, cancel := context.WithTimeout(context.Background(), redisWait)
		defer cancel()
		done := terminal.Progress(s.Err, "writing to Redis")
		err := r.Write(ctx, e)
		done()
		told(r.URL, err)
	}
	if file := cfg.Revocation.File; file != "" {
		told(file, revocation.Append(file, e))
	}
	return errors.Join(failed...)
}
