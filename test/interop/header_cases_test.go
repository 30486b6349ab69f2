//go:build interop

package interop

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

func (b *bench) headerCases() []comparison {
	with := func(name string, value any) string { return b.mint(nil, jwttest.WithHeader(name, value)) }
	kid := b.issuer.KeyID(jwtverify.EdDSA)
	return []comparison{
		{name: "no typ", token: with("typ", nil)},
		{name: "typ at+jwt", token: with("typ", "at+jwt")},
		{name: "typ in lower case", token: with("typ", "jwt")},
		{name: "typ of a logout token", token: with("typ", "logout+jwt"), want: jwtverify.ErrMalformed},
		{name: "typ of a DPoP proof", token: with("typ", "dpop+jwt"), want: jwtverify.ErrMalformed},
		{name: "typ a number", token: with("typ", 1), want: jwtverify.ErrMalformed},
		{
			name: "crit", token: b.mint(nil, jwttest.WithHeader("crit", []string{"exp"}), jwttest.WithHeader("exp", 1)),
			want: jwtverify.ErrMalformed,
		},
		{name: "b64 true", token: with("b64", true), want: jwtverify.ErrMalformed},
		{name: "cty JWT", token: with("cty", "JWT"), want: jwtverify.ErrMalformed},
		{name: "zip", token: with("zip", "DEF"), want: jwtverify.ErrMalformed},
		{name: "unknown members", token: with("x-anything", claims{"a": 1})},
		{name: "jku elsewhere is ignored", token: with("jku", "http://127.0.0.1:1/jwks.json")},
		{
			name: "alg twice", token: b.signed(`{"alg":"none","alg":"EdDSA","kid":"` + kid + `"}`),
			want: jwtverify.ErrMalformed,
		},
		{name: "no alg", token: with("alg", nil), want: jwtverify.ErrMalformed, sdk: "KeyError: 'alg'"},
		{name: "alg a number", token: with("alg", 1), want: jwtverify.ErrMalformed, sdk: "Unsupported algorithm"},
		{name: "alg unknown", token: with("alg", "XX256"), want: jwtverify.ErrAlgorithm, sdk: "Unsupported algorithm"},
		{name: "header a list", token: b.signed(`["EdDSA"]`), want: jwtverify.ErrMalformed, sdk: "AttributeError"},
		{name: "header not JSON", token: b.signed(`alg=EdDSA`), want: jwtverify.ErrMalformed, sdk: sdkFormat},
	}
}

func (b *bench) keyIDCases() []comparison {
	return []comparison{
		{name: "kid unknown", token: b.mint(nil, jwttest.WithKeyID("nobody")), want: jwtverify.ErrUnknownKey, sdk: sdkNoKey},
		{name: "kid in upper case", token: b.mint(nil, jwttest.WithKeyID("EDDSA-1")), want: jwtverify.ErrUnknownKey, sdk: sdkNoKey},
		{name: "no kid, several keys", token: b.mint(nil, jwttest.WithKeyID("")), want: jwtverify.ErrUnknownKey, sdk: sdkNoKey},
		{
			name: "no kid, one key", token: b.mint(nil, jwttest.WithKeyID("")), setup: setup{set: "one"},
			sdk: sdkNoKey,
		},
		{
			name: "kid empty, one key", token: b.mint(nil, jwttest.WithHeader("kid", "")), setup: setup{set: "one"},
			sdk: sdkNoKey,
		},
		{name: "kid a number", token: b.mint(nil, jwttest.WithHeader("kid", 1)), want: jwtverify.ErrMalformed, sdk: sdkNoKey},
		{name: "kid a list", token: b.mint(nil, jwttest.WithHeader("kid", []string{"EdDSA-1"})), want: jwtverify.ErrMalformed, sdk: "TypeError"},
		{
			name: "kid of a key of another type", token: b.mint(nil, jwttest.WithKeyID(b.issuer.KeyID(jwtverify.RS256))),
			want: jwtverify.ErrAlgorithm, sdk: "TypeError",
		},
		{
			name: "kid of a key on another curve", want: jwtverify.ErrAlgorithm, sdk: "ValueError: Invalid EC key",
			token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.ES256), jwttest.WithKeyID(b.issuer.KeyID(jwtverify.ES384))),
		},
	}
}

// keySetCases: what issuers publish.
func (b *bench) keySetCases() []comparison {
	token := b.mint(nil)
	return []comparison{
		{name: "one key", token: token, setup: setup{set: "one"}},
		{name: "an unusable key before", token: token, setup: setup{set: "unusable before"}},
		{
			name: "a key without kid before", token: token, setup: setup{set: "nameless before"},
			sdk: "KeyError: 'kid'",
		},
		{
			name: "two keys of one kid", token: token, setup: setup{set: "twice"},
			want: jwtverify.ErrUnknownKey,
		},
		{
			name: "a key for encryption", token: token, setup: setup{set: "encryption"},
			want: jwtverify.ErrUnknownKey,
		},
		{
			name: "a private key", token: token, setup: setup{set: "private"},
			want: jwtverify.ErrUnknownKey,
		},
		{
			name: "a shared secret", setup: setup{set: "secret"},
			token: b.mintBy(b.secrets, nil, jwttest.WithKeyID("secret")),
			want:  jwtverify.ErrAlgorithm,
		},
		{name: "an empty key set", token: token, setup: setup{set: "empty"}, want: jwtverify.ErrKeysUnavailable, sdk: sdkNoKey},
		{name: "no key set", token: token, setup: setup{set: "none"}, want: jwtverify.ErrKeysUnavailable, sdk: "KeyError: 'keys'"},
		{name: "a key set that is not there", token: token, setup: setup{set: "missing"}, want: jwtverify.ErrKeysUnavailable, sdk: "HTTPStatusError"},
	}
}

func (b *bench) forgedCases() []comparison {
	good := b.mint(nil)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	other := encodeJSON(b.t, b.claims(claims{"sub": "user:admin"}))
	none := encodeJSON(b.t, claims{"alg": "none", "kid": b.issuer.KeyID(jwtverify.EdDSA)})
	es256 := b.mint(nil, jwttest.WithAlgorithm(jwtverify.ES256))
	return []comparison{
		{name: "payload exchanged", token: header + "." + other + "." + signature, want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature changed", token: flipLast(good), want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature changed, ES256", token: flipLast(es256), want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature of another token", token: header + "." + payload + "." + signatureOf(b.mint(claims{"sub": "x"})), want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature cut", token: good[:len(good)-2], want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature longer", token: good + "AAAA", want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "signature empty", token: header + "." + payload + ".", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "signature left out", token: header + "." + payload, want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "signature of zeros, ES256", token: strings.TrimSuffix(es256, signatureOf(es256)) + strings.Repeat("A", 86), want: jwtverify.ErrSignature, sdk: sdkSignature},
		{name: "alg none, no signature", token: none + "." + other + ".", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "alg none, a signature", token: none + "." + other + "." + signature, want: jwtverify.ErrAlgorithm, sdk: "Unsupported algorithm"},
		{name: "HS256 with the public key as secret", token: b.confused(), want: jwtverify.ErrAlgorithm, sdk: "TypeError: JWK field 'k'"},
		{
			name: "HS256 with the public key as secret, key by PEM", token: b.confused(), want: jwtverify.ErrAlgorithm, sdk: "TypeError: JWK field 'k'",
			setup: setup{pem: string(b.issuer.PublicPEM(jwtverify.RS256)), alg: "RS256"},
		},
		{
			name: "signed by the key in its own header", want: jwtverify.ErrSignature, sdk: sdkSignature,
			token: b.mintBy(b.stranger, nil, jwttest.WithHeader("jwk", b.strangersJWK()), jwttest.WithKeyID(b.issuer.KeyID(jwtverify.EdDSA))),
		},
		{name: "RS256 said to be RS384", token: b.mint(nil, jwttest.WithAlgorithm(jwtverify.RS256), jwttest.WithHeader("alg", "RS384")), want: jwtverify.ErrAlgorithm, sdk: sdkSignature},
	}
}

// encodingCases: a token has one spelling here, and many for Python.
func (b *bench) encodingCases() []comparison {
	good := b.mint(nil)
	body := `"iss":"` + testIssuer + `","aud":"my-app","exp":4102444800,"sub":"user:1"`
	return []comparison{
		{name: "signature padded", token: good + "==", want: jwtverify.ErrMalformed},
		{name: "unused bits set", token: otherBits(good), want: jwtverify.ErrMalformed},
		{name: "a line feed at the end", token: good + "\n", want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{name: "a space in front", token: " " + good, want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{name: "a space inside", token: strings.Replace(good, ".", ". ", 1), want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "plus and slash", token: good[:len(good)-2] + "+/", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "four segments", token: good + ".x", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "a JWE", token: "eyJhbGciOiJkaXIifQ.AAAA.AAAA.AAAA.AAAA", want: jwtverify.ErrMalformed, sdk: "USSOException: JWE is not supported yet"},
		{name: "an API key", token: "usso_sk_0123456789abcdef", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "nothing", token: "", want: jwtverify.ErrMalformed, sdk: sdkAPIKey},
		{name: "payload in any order, with spaces", token: b.raw(" {\n" + body + "\t} ")},
		{name: "payload with escapes", token: b.raw(`{` + body + `,"workspace_id":"w\u0073_\ud83d\udd11"}`)},
		{name: "payload a list", token: b.raw(`["user:1"]`), want: jwtverify.ErrMalformed, sdk: sdkNoAud},
		{name: "payload not JSON", token: b.raw(`sub=user:1`), want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{name: "payload cut", token: b.raw(`{` + body), want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{name: "payload with more behind", token: b.raw(`{` + body + `}{}`), want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{
			name: "a claim twice", token: b.raw(`{"sub":"user:admin",` + body + `}`),
			want: jwtverify.ErrMalformed,
		},
		{name: "a claim that is NaN", token: b.raw(`{` + body + `,"x":NaN}`), want: jwtverify.ErrMalformed},
		{name: "payload with a byte order mark", token: b.raw("\ufeff{" + body + "}"), want: jwtverify.ErrMalformed},
		{name: "payload in UTF-16", token: b.raw(inUTF16("{" + body + "}")), want: jwtverify.ErrMalformed},
		{name: "payload not UTF-8", token: b.raw(`{` + body + `,"x":"` + "\xff" + `"}`), want: jwtverify.ErrMalformed, sdk: sdkFormat},
		{
			name: "half a surrogate pair", token: b.raw(`{` + body + `,"x":"\ud83d"}`),
			want: jwtverify.ErrMalformed,
		},
	}
}

// otherBits spells the last byte of a signature differently: its last character
// holds bits that stand for nothing.
func otherBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[last+1])
}

func signatureOf(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }

func inUTF16(s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

func encodeJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
