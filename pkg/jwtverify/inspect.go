package jwtverify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Inspection explains to people how one token is verified. It holds the token's header
// and claims, which anybody who has the token can read, and never its signature. Show it
// only to those who may see the claims.
type Inspection struct {
	Header, Claims []byte // decoded, before any check; nil: not base64url
	Key            *Key   // nil: none was found
	Checks         []Check
}

// Check is one check of a token. The first one that fails refuses the token; the later
// ones show what else is wrong with it.
type Check struct {
	Name    string // form, header, algorithm, key, signature, claims, or a claim's name
	Err     error  // nil: passed, or not done
	Skipped bool   // switched off, or not possible
	Detail  string // the values that were compared
}

// Err returns the error that Verify returns for the token: that of the first check that
// failed, nil where all passed.
func (in *Inspection) Err() error {
	for _, c := range in.Checks {
		if c.Err != nil {
			return c.Err
		}
	}
	return nil
}

func (in *Inspection) check(name string, err error, format string, args ...any) bool {
	in.Checks = append(in.Checks, Check{Name: name, Err: err, Detail: fmt.Sprintf(format, args...)})
	return err == nil
}

func (in *Inspection) skip(name, reason string) {
	in.Checks = append(in.Checks, Check{Name: name, Skipped: true, Detail: reason})
}

// Inspect checks a token as Verify does, with the same checks in the same order, and
// goes on after one that failed, as far as the token can be read. It does not use the
// cache, and decides nothing: a token is accepted only if Verify returns its identity.
// Like Verify it waits only for the key, within ctx.
func (v *Verifier) Inspect(ctx context.Context, token string) *Inspection {
	in := &Inspection{}
	firstDot, lastDot, err := splitStrict(token)
	if !in.check("form", err, "%d bytes, %d segments", len(token), 1+strings.Count(token, ".")) {
		return in
	}
	if in.Header, err = segmentEncoding.DecodeString(token[:firstDot]); err != nil {
		in.Header = nil
	}
	if in.Claims, err = segmentEncoding.DecodeString(token[firstDot+1 : lastDot]); err != nil {
		in.Claims = nil
	}
	head, err := decodeHeader(token[:firstDot])
	if !in.check("header", err, "alg %s, kid %s", logtext.Quote(head.alg), logtext.Quote(head.kid)) {
		return in
	}
	v.inspectSignature(ctx, in, head, token, firstDot, lastDot)
	v.inspectClaims(in)
	return in
}

func (v *Verifier) inspectSignature(ctx context.Context, in *Inspection, head header, token string, firstDot, lastDot int) {
	alg, err := v.algorithm(head.alg)
	if in.check("algorithm", err, "%s; accepted: %v", logtext.Quote(head.alg), v.algorithms) {
		if in.Key, err = v.find(ctx, head.kid, alg); err != nil {
			in.Key = nil
		}
		in.check("key", err, "kid %s", logtext.Quote(head.kid))
	} else {
		in.skip("key", "no accepted algorithm")
	}
	if in.Key == nil {
		in.skip("signature", "no key to check it with")
		return
	}
	_, err = new(scratch).verifySegments(in.Key, alg, token, firstDot, lastDot)
	in.check("signature", err, "%s", alg)
}

func (v *Verifier) inspectClaims(in *Inspection) {
	var set claimSet
	var c claims
	err := set.parse(in.Claims)
	if err == nil {
		c, err = readClaims(&set, v.names)
	}
	if !in.check("claims", err, "each of its type") {
		return
	}
	now := v.now()
	in.claim("exp", v.skipExpiry, v.checkExpiry(now, c.expiry), describeTime(now, c.expiry))
	in.claim("nbf", v.skipNotBefore, v.checkNotBefore(now, c.notBefore), describeTime(now, c.notBefore))
	in.claim("iat", false, v.checkIssuedAt(now, c.issuedAt), describeTime(now, c.issuedAt))
	in.claim("aud", v.skipAudience, v.checkAudience(&c), fmt.Sprintf("%q; accepted: %q", c.audiences, v.audiences))
	in.claim("iss", v.skipIssuer, v.checkIssuer(&c), fmt.Sprintf("%q; accepted: %q", c.issuer, v.issuers))
	in.claim("token_type", false, v.checkTokenType(&c), fmt.Sprintf("%q; accepted: %q", c.tokenType, v.tokenTypes))
	in.claim("tenant_id", v.anyTenantID, v.checkTenant(&c), v.describeTenantID(&c))
}

func (in *Inspection) claim(name string, off bool, err error, detail string) {
	if off && err == nil {
		in.skip(name, detail+"; the check is switched off")
		return
	}
	in.check(name, err, "%s", detail)
}

func (v *Verifier) describeTenantID(c *claims) string {
	got := "missing"
	if c.hasTenantID {
		got = fmt.Sprintf("%q", c.tenantID)
	}
	if owner := v.otherTenants[c.tenantID]; v.anyTenantID && owner != "" {
		return fmt.Sprintf("%s; accepted: any but those of other tenants with the same issuer, as %s is", got, owner)
	} else if v.anyTenantID {
		return got
	}
	return fmt.Sprintf("%s; accepted: %q", got, v.tenantIDs)
}

func describeTime(now time.Time, seconds int64) string {
	if seconds == 0 {
		return "missing"
	}
	t := time.Unix(seconds, 0)
	text := t.UTC().Format(time.RFC3339)
	if d := t.Sub(now).Round(time.Second); d > 0 {
		return fmt.Sprintf("%s, in %v", text, d)
	} else {
		return fmt.Sprintf("%s, %v ago", text, -d)
	}
}
