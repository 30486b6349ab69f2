//go:build interop

package interop

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// comparison is one token for both sides.
type comparison struct {
	name  string
	token string
	setup setup
	want  error  // our sentinel; nil: accepted
	sdk   string // part of the SDK's refusal; "": accepted
}

// What the SDK says.
const (
	sdkExpired   = "USSOException: JWT has expired"
	sdkNotYet    = "USSOException: JWT is not valid yet"
	sdkFuture    = "USSOException: JWT is issued in the future"
	sdkSignature = "USSOException: JWT signature is invalid"
	sdkFormat    = "USSOException: JWT has an invalid format"
	sdkNoKey     = "USSOException: JWK with the specified kid is not found"
	sdkAudience  = "USSOException: JWT audience claim is invalid"
	sdkNoAud     = "USSOException: JWT audience claim is required but missing"
	sdkIssuer    = "USSOException: JWT issuer claim is invalid"
	sdkType      = "USSOException: JWT token type claim is invalid"
	sdkAPIKey    = "Refused: taken for an API key"
	sdkClaims    = "ValidationError: " // of pydantic; not one of the SDK's own exceptions
)

// null is a claim that is there, and null; a nil is a claim that is not there.
var null = json.RawMessage("null")

type claims = map[string]any

// mint signs a good token but for the changes.
func (b *bench) mint(changes claims, opts ...jwttest.MintOption) string {
	b.t.Helper()
	return b.mintBy(b.issuer, changes, opts...)
}

func (b *bench) mintBy(issuer *jwttest.Issuer, changes claims, opts ...jwttest.MintOption) string {
	b.t.Helper()
	token, err := issuer.Mint(b.claims(changes), opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// claims are good ones but for the changes.
func (b *bench) claims(changes claims) claims {
	all := claims{"iss": testIssuer, "sub": "user:1", "aud": testAudience, "exp": b.in(3600)}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// in is the date some seconds from now.
func (b *bench) in(seconds int64) int64 { return b.now.Unix() + seconds }

// raw signs these very bytes as the payload, by the EdDSA key.
func (b *bench) raw(payload string) string {
	b.t.Helper()
	token, err := b.issuer.MintPayload([]byte(payload))
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// signed signs these very bytes as the header, over good claims.
func (b *bench) signed(header string) string {
	b.t.Helper()
	payload, err := json.Marshal(b.claims(nil))
	if err != nil {
		b.t.Fatal(err)
	}
	token, err := b.issuer.MintRaw([]byte(header), payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

func (b *bench) cases() []comparison {
	var all []comparison
	for _, group := range []func() []comparison{
		b.algorithmCases, b.configuredKeyCases, b.timeCases, b.issuerAndAudienceCases, b.tokenTypeCases, b.accountCases,
		b.headerCases, b.keyIDCases, b.keySetCases, b.forgedCases, b.encodingCases,
	} {
		all = append(all, group()...)
	}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.name] {
			b.t.Fatalf("two cases are named %q", c.name)
		}
		seen[c.name] = true
	}
	return all
}

func (b *bench) algorithmCases() []comparison {
	var all []comparison
	for _, alg := range jwtverify.Asymmetric() {
		all = append(all, comparison{name: "good " + string(alg), token: b.mint(nil, jwttest.WithAlgorithm(alg))})
	}
	return append(all,
		comparison{name: "good Ed25519", token: b.mint(nil, jwttest.WithHeader("alg", "Ed25519"))},
		comparison{
			name: "alg in lower case", token: b.mint(nil, jwttest.WithHeader("alg", "eddsa")),
			want: jwtverify.ErrAlgorithm,
		},
		comparison{
			name: "PS256", token: b.signPS256(), setup: setup{set: "ps256"},
			want: jwtverify.ErrAlgorithm,
		},
		comparison{
			name: "ES512", token: b.signES512(), setup: setup{set: "p521"},
			want: jwtverify.ErrAlgorithm,
		},
		comparison{
			name: "RS512 by a key whose JWK says RS256", setup: setup{set: "rs256"},
			token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.RS512), jwttest.WithKeyID("rs256")),
			want:  jwtverify.ErrAlgorithm,
		},
		comparison{
			name: "RS512 by a key whose JWK says nothing", setup: setup{set: "rsa without alg"},
			token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.RS512), jwttest.WithKeyID("rsa")),
		},
	)
}

// configuredKeyCases: a key in the configuration instead of a key set.
func (b *bench) configuredKeyCases() []comparison {
	pem := func(alg jwtverify.Algorithm) setup {
		return setup{pem: string(b.issuer.PublicPEM(alg)), alg: string(alg)}
	}
	secret := setup{secret: b.secrets.Secret(), alg: "HS256"}
	const placeholder = "your-ed25519-public-key-that-everybody-knows"
	known := newIssuer(b.t, []jwtverify.Algorithm{jwtverify.HS256}, []byte(placeholder))
	return []comparison{
		{name: "EdDSA by PEM", token: b.mint(nil), setup: pem(jwtverify.EdDSA)},
		{name: "EdDSA by PEM, another kid", token: b.mint(nil, jwttest.WithKeyID("x")), setup: pem(jwtverify.EdDSA)},
		{name: "EdDSA by PEM, no kid", token: b.mint(nil, jwttest.WithKeyID("")), setup: pem(jwtverify.EdDSA)},
		{name: "RS256 by PEM", token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.RS256)), setup: pem(jwtverify.RS256)},
		{
			name: "ES256 by PEM", token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.ES256)), setup: pem(jwtverify.ES256),
		},
		{
			name: "RS256 by PEM of 3072 bits", token: b.mintBy(b.long, nil),
			setup: setup{pem: string(b.long.PublicPEM(jwtverify.RS256)), alg: "RS256"},
			sdk:   "OverflowError",
		},
		{
			name: "RS512 by PEM for RS256", token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.RS512)), setup: pem(jwtverify.RS256),
			want: jwtverify.ErrAlgorithm,
		},
		{
			name: "HS256 by a key that is no PEM", token: b.mintBy(known, nil), setup: setup{pem: placeholder, alg: "EdDSA"},
			want: errKey,
		},
		{name: "HS256 by secret", token: b.mintBy(b.secrets, nil), setup: secret},
		{name: "HS256 by another secret", token: b.mintBy(b.otherSecrets(), nil), setup: secret, want: jwtverify.ErrSignature, sdk: sdkSignature},
		{
			name: "HS256 by secret, alg HS512", token: b.signHS512(), setup: secret,
			want: jwtverify.ErrAlgorithm,
		},
		{name: "HS256 by secret, expired", token: b.mintBy(b.secrets, claims{"exp": b.in(-1)}), setup: secret, want: jwtverify.ErrExpired, sdk: sdkExpired},
	}
}

func (b *bench) timeCases() []comparison {
	return []comparison{
		{name: "expired a second ago", token: b.mint(claims{"exp": b.in(-1)}), want: jwtverify.ErrExpired, sdk: sdkExpired},
		{name: "expires now", token: b.mint(claims{"exp": b.in(0)}), want: jwtverify.ErrExpired, sdk: sdkExpired},
		{name: "expires in a second", token: b.mint(claims{"exp": b.in(1)})},
		{
			name: "expired within the leeway", token: b.mint(claims{"exp": b.in(-5)}), setup: setup{leeway: slack},
			sdk: sdkExpired,
		},
		{name: "expired beyond the leeway", token: b.mint(claims{"exp": b.in(-10)}), setup: setup{leeway: slack}, want: jwtverify.ErrExpired, sdk: sdkExpired},
		{
			name: "no exp", token: b.mint(claims{"exp": nil}),
			want: jwtverify.ErrMalformed,
		},
		{name: "exp null", token: b.mint(claims{"exp": null}), want: jwtverify.ErrMalformed, sdk: "TypeError"},
		{name: "exp a string", token: b.mint(claims{"exp": "9999999999"}), want: jwtverify.ErrMalformed, sdk: "TypeError"},
		{name: "exp true", token: b.mint(claims{"exp": true}), want: jwtverify.ErrMalformed, sdk: sdkExpired},
		{name: "exp a list", token: b.mint(claims{"exp": []int{1}}), want: jwtverify.ErrMalformed, sdk: "TypeError"},
		{name: "exp negative", token: b.mint(claims{"exp": -1}), want: jwtverify.ErrMalformed, sdk: sdkExpired},
		{name: "exp zero", token: b.mint(claims{"exp": 0}), want: jwtverify.ErrMalformed, sdk: sdkExpired},
		{name: "exp an integral float", token: b.mint(claims{"exp": json.RawMessage("4102444800.0")})},
		{name: "exp with an exponent", token: b.mint(claims{"exp": json.RawMessage("4.1024448e9")})},
		{
			name: "exp with a fraction", token: b.mint(claims{"exp": json.RawMessage("4102444800.5")}),
			sdk: sdkClaims,
		},
		{name: "exp in the year 10000", token: b.mint(claims{"exp": 253402300800}), want: jwtverify.ErrMalformed},
		{name: "exp beyond 64 bits", token: b.mint(claims{"exp": json.RawMessage("1e300")}), want: jwtverify.ErrMalformed, sdk: sdkClaims},
		{
			name: "exp Infinity", token: b.raw(`{"iss":"` + testIssuer + `","sub":"user:1","aud":"my-app","exp":Infinity}`),
			want: jwtverify.ErrMalformed, sdk: sdkClaims,
		},
		{name: "nbf now", token: b.mint(claims{"nbf": b.in(0)})},
		{name: "nbf in a second", token: b.mint(claims{"nbf": b.in(1)}), want: jwtverify.ErrNotYetValid, sdk: sdkNotYet},
		{name: "nbf null", token: b.mint(claims{"nbf": null}), want: jwtverify.ErrMalformed, sdk: "TypeError"},
		{name: "iat now", token: b.mint(claims{"iat": b.in(0)})},
		{name: "iat years ago", token: b.mint(claims{"iat": 1})},
		{
			name: "iat in half a minute", token: b.mint(claims{"iat": b.in(30)}),
			want: jwtverify.ErrNotYetValid,
		},
		{name: "iat in 61 seconds", token: b.mint(claims{"iat": b.in(61)}), want: jwtverify.ErrNotYetValid, sdk: sdkFuture},
	}
}

func (b *bench) issuerAndAudienceCases() []comparison {
	two := setup{issuers: []string{"https://old.example", testIssuer}, audiences: []string{"other", testAudience}}
	return []comparison{
		{name: "one of two issuers and audiences", token: b.mint(nil), setup: two},
		{name: "none of two issuers", token: b.mint(claims{"iss": "https://new.example"}), setup: two, want: jwtverify.ErrIssuer, sdk: sdkIssuer},
		{name: "another issuer", token: b.mint(claims{"iss": "https://sso.globex.example"}), want: jwtverify.ErrIssuer, sdk: sdkIssuer},
		{name: "the issuer with a slash", token: b.mint(claims{"iss": testIssuer + "/"}), want: jwtverify.ErrIssuer, sdk: sdkIssuer},
		{name: "the issuer in upper case", token: b.mint(claims{"iss": strings.ToUpper(testIssuer)}), want: jwtverify.ErrIssuer, sdk: sdkIssuer},
		{name: "no issuer", token: b.mint(claims{"iss": nil}), want: jwtverify.ErrIssuer},
		{name: "issuer null", token: b.mint(claims{"iss": null}), want: jwtverify.ErrMalformed, sdk: sdkIssuer},
		{name: "issuer a list", token: b.mint(claims{"iss": []string{testIssuer}}), want: jwtverify.ErrMalformed, sdk: sdkIssuer},
		{name: "another audience", token: b.mint(claims{"aud": "other"}), want: jwtverify.ErrAudience, sdk: sdkAudience},
		{name: "audience in upper case", token: b.mint(claims{"aud": "MY-APP"}), want: jwtverify.ErrAudience, sdk: sdkAudience},
		{name: "no audience", token: b.mint(claims{"aud": nil}), want: jwtverify.ErrAudience, sdk: sdkNoAud},
		{name: "audience null", token: b.mint(claims{"aud": null}), want: jwtverify.ErrMalformed, sdk: sdkAudience},
		{name: "audience a number", token: b.mint(claims{"aud": 1}), want: jwtverify.ErrMalformed, sdk: sdkAudience},
		{name: "audience a list with ours", token: b.mint(claims{"aud": []string{"other", testAudience}}), sdk: sdkAudience},
		{name: "audience a list without ours", token: b.mint(claims{"aud": []string{"other"}}), want: jwtverify.ErrAudience, sdk: sdkAudience},
		{name: "audience an empty list", token: b.mint(claims{"aud": []string{}}), want: jwtverify.ErrAudience, sdk: sdkAudience},
		{name: "wrong issuer and audience", token: b.mint(claims{"iss": "x", "aud": "y"}), want: jwtverify.ErrAudience, sdk: sdkAudience},
	}
}

func (b *bench) tokenTypeCases() []comparison {
	of := func(v any) string { return b.mint(claims{"token_type": v}) }
	refresh := setup{tokenTypes: []string{"refresh"}}
	return []comparison{
		{name: "token_type access", token: of("access")},
		{name: "token_type refresh", token: of("refresh"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type secure", token: of("secure"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type one_time", token: of("one_time"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type temporary", token: of("temporary"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type unknown", token: of("api_key"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type in upper case", token: of("ACCESS"), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type empty", token: of(""), want: jwtverify.ErrTokenType, sdk: sdkType},
		{name: "token_type null", token: of(null), sdk: sdkType},
		{name: "token_type a list", token: of([]string{"access"}), want: jwtverify.ErrMalformed, sdk: sdkType},
		{name: "token_type refresh, wanted", token: of("refresh"), setup: refresh},
		{name: "token_type access, refresh wanted", token: of("access"), setup: refresh, want: jwtverify.ErrTokenType, sdk: sdkType},
		{
			name: "token_type missing, refresh wanted", token: b.mint(nil), setup: refresh,
			want: jwtverify.ErrTokenType,
		},
	}
}
