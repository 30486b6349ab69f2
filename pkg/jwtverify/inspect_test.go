package jwtverify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// agree fails where Inspect finds another first error than Verify.
func agree(t testing.TB, v *jwtverify.Verifier, token string, verified error) {
	t.Helper()
	inspected := v.Inspect(context.Background(), token).Err()
	if fmt.Sprint(inspected) != fmt.Sprint(verified) {
		t.Errorf("Inspect says %v, Verify %v", inspected, verified)
	}
}

func TestInspectGoesOn(t *testing.T) {
	issuer := newIssuer(t)
	cfg := config(keySet(t, issuer))
	cfg.SkipIssuer, cfg.TenantIDs = true, []string{"acme"}
	v := newVerifier(t, cfg)
	stranger := newIssuer(t)
	for _, tt := range []struct {
		name, token, want string
	}{
		{"good", mint(t, issuer, good(nil)), "form header algorithm key signature claims exp nbf iat aud (iss) token_type tenant_id"},
		{"two claims", mint(t, issuer, good(map[string]any{"exp": now - 60, "aud": "x", "tenant_id": "other"})), "form header algorithm key signature claims !exp nbf iat !aud (iss) token_type !tenant_id"},
		{"forged and expired", mint(t, stranger, good(map[string]any{"exp": now - 60})), "form header algorithm key !signature claims !exp nbf iat aud (iss) token_type tenant_id"},
		{"no token", "abc", "!form"},
		{"no header", "YQ.YQ.YQ", "form !header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := v.Inspect(t.Context(), tt.token)
			var names []string
			for _, c := range in.Checks {
				switch {
				case c.Skipped:
					names = append(names, "("+c.Name+")")
				case c.Err != nil:
					names = append(names, "!"+c.Name)
				default:
					names = append(names, c.Name)
				}
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("checks %s\nwant   %s", got, tt.want)
			}
			if all := fmt.Sprintf("%+v", in.Checks); strings.Contains(tt.token, ".") && strings.Contains(all, tt.token[strings.LastIndexByte(tt.token, '.'):]) {
				t.Error("the signature shows")
			}
		})
	}
}

func TestInspectDetails(t *testing.T) {
	issuer := newIssuer(t)
	v := newVerifier(t, config(keySet(t, issuer)))
	in := v.Inspect(t.Context(), mint(t, issuer, good(map[string]any{"exp": now - 90, "aud": "else"})))
	if !errors.Is(in.Err(), jwtverify.ErrExpired) || in.Key == nil {
		t.Fatal(in.Err(), in.Key)
	}
	for _, c := range in.Checks {
		switch c.Name {
		case "exp":
			if c.Detail != "2027-01-15T07:58:30Z, 1m30s ago" {
				t.Error(c.Detail)
			}
		case "aud":
			if !strings.HasPrefix(c.Detail, `["else"]; accepted: [`) {
				t.Error(c.Detail)
			}
		}
	}
	if !strings.Contains(string(in.Claims), `"else"`) || !strings.Contains(string(in.Header), "EdDSA") {
		t.Errorf("%s %s", in.Header, in.Claims)
	}
}
