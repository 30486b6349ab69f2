package jwtverify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// Bounds of a token, checked before anything is decoded.
const (
	maxTokenBytes     = 16 << 10
	maxHeaderBytes    = 2 << 10
	maxSignatureBytes = maxRSABits / 8 // no key has a longer one
)

// segmentEncoding refuses padding and non-canonical trailing bits, so that a token has
// exactly one spelling. It skips CR and LF, which splitStrict refuses before.
var segmentEncoding = base64.RawURLEncoding.Strict()

// Verifier turns tokens into identities by the rules of one tenant. Make one with New.
// It is immutable and safe for concurrent use.
type Verifier struct {
	keys       KeySet
	algorithms []Algorithm
	issuers    []string
	audiences  []string
	names      *claimNames

	skipExpiry, skipNotBefore, skipAudience, skipIssuer bool

	leeway          time.Duration
	tokenTypes      []string
	tenantIDs       []string
	anyTenantID     bool
	requireTenantID bool
	otherTenants    map[string]string
	now             func() time.Time

	cache *Cache
	share *cacheShare // of this Verifier in the cache; nil without one
}

// Proof holds what an identity was accepted by, so that a cache of verified tokens can
// check it again without the token. It is immutable.
type Proof struct {
	key                         *Key
	kid                         string // as the header had it
	expiry, notBefore, issuedAt int64
	size                        int // of the token, in bytes
}

// Verify verifies a compact JWS access token and returns its identity. It waits only for
// the key, as KeySet.Find does, within ctx. Every error wraps exactly one sentinel of
// this package, and its text holds no bytes of the token but a quoted, shortened kid; no
// *Identity comes with an error.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	id, _, err := v.VerifyLookup(ctx, token)
	return id, err
}

// VerifyLookup is Verify, and also returns the outcome of the cache lookup.
func (v *Verifier) VerifyLookup(ctx context.Context, token string) (*Identity, Lookup, error) {
	if v.cache != nil {
		return v.verifyCached(ctx, token)
	}
	id, _, err := v.Prove(ctx, token)
	return id, NoLookup, err
}

// Prove is Verify without the cache, for callers that cache the identity themselves:
// they must call Recheck with the proof before each further use of it.
func (v *Verifier) Prove(ctx context.Context, token string) (*Identity, *Proof, error) {
	// 1. The form, at the cost of one pass over at most 16 KiB.
	firstDot, lastDot, err := splitStrict(token)
	if err != nil {
		return nil, nil, err
	}
	// 2. The header: each member must be understood, or harmless.
	head, err := decodeHeader(token[:firstDot])
	if err != nil {
		return nil, nil, err
	}
	// 3. The algorithm: one that the tenant allows.
	alg, err := v.algorithm(head.alg)
	if err != nil {
		return nil, nil, err
	}
	// 4. The key: the one that the header names, if it is bound to alg.
	key, err := v.find(ctx, head.kid, alg)
	if err != nil {
		return nil, nil, err
	}
	// 5. The signature over exactly the bytes that were sent.
	buf := scratchPool.Get().(*scratch)
	defer buf.release()
	payload, err := buf.verifySegments(key, alg, token, firstDot, lastDot)
	if err != nil {
		return nil, nil, err
	}
	// 6. The claims, from the bytes that were just verified and from no others.
	if err := buf.claims.parse(payload); err != nil {
		return nil, nil, err
	}
	c, err := readClaims(&buf.claims, v.names)
	if err != nil {
		return nil, nil, err
	}
	// 7. Times, audience, issuer, type and tenant.
	if err := v.checkClaims(&c); err != nil {
		return nil, nil, err
	}
	proof := &Proof{key: key, kid: head.kid, size: len(token), expiry: c.expiry, notBefore: c.notBefore, issuedAt: c.issuedAt}
	id := c.identity(&buf.claims)
	id.Leeway = v.leeway
	return id, proof, nil
}

// Recheck returns nil where a token that this Verifier proved before would still be
// accepted: by its times now, and by its key, which must still be the one that its
// header names. The errors are those of Verify.
func (v *Verifier) Recheck(ctx context.Context, p *Proof) error {
	if p == nil || p.key == nil {
		return fmt.Errorf("%w: no proof", ErrUnknownKey)
	}
	key, err := v.find(ctx, p.kid, p.key.algs[0])
	if err != nil {
		return err
	}
	if key != p.key && !key.Equal(p.key) {
		return fmt.Errorf("%w: kid %s is another key now", ErrUnknownKey, logtext.Quote(p.kid))
	}
	return v.checkTimes(p.expiry, p.notBefore, p.issuedAt)
}

// splitStrict is splitToken, and checks the alphabet. It allocates only for an error.
func splitStrict(token string) (firstDot, lastDot int, err error) {
	if firstDot, lastDot, err = splitToken(token); err != nil {
		return 0, 0, err
	}
	for i := range len(token) {
		if !base64URLByte[token[i]] && i != firstDot && i != lastDot {
			return 0, 0, fmt.Errorf("%w: a byte outside base64url, or not three segments", ErrMalformed)
		}
	}
	return firstDot, lastDot, nil
}

// splitToken finds the two dots of a compact JWS and bounds its segments. It costs less
// than the hash of the token, so that garbage is refused before the cache is searched.
func splitToken(token string) (firstDot, lastDot int, err error) {
	if token == "" || len(token) > maxTokenBytes {
		return 0, 0, fmt.Errorf("%w: %d bytes: want 1 to %d", ErrMalformed, len(token), maxTokenBytes)
	}
	// Forwards: IndexByte is vectorized, and LastIndexByte is not.
	firstDot = strings.IndexByte(token, '.')
	lastDot = firstDot + 1 + strings.IndexByte(token[firstDot+1:], '.')
	if firstDot <= 0 || lastDot <= firstDot+1 || lastDot == len(token)-1 || strings.IndexByte(token[lastDot+1:], '.') >= 0 {
		return 0, 0, fmt.Errorf("%w: not three segments", ErrMalformed)
	}
	if firstDot > segmentEncoding.EncodedLen(maxHeaderBytes) {
		return 0, 0, fmt.Errorf("%w: header of more than %d bytes", ErrMalformed, maxHeaderBytes)
	}
	if len(token)-lastDot-1 > segmentEncoding.EncodedLen(maxSignatureBytes) {
		return 0, 0, fmt.Errorf("%w: signature of more than %d bytes", ErrMalformed, maxSignatureBytes)
	}
	return firstDot, lastDot, nil
}

func decodeHeader(segment string) (header, error) {
	b, err := segmentEncoding.DecodeString(segment)
	if err != nil {
		return header{}, fmt.Errorf("%w: header is not canonical base64url", ErrMalformed)
	}
	return parseHeader(b)
}

// appendDecoded decodes a segment and appends it to buf.
func appendDecoded(buf []byte, name string, segment []byte) ([]byte, error) {
	decoded, err := segmentEncoding.AppendDecode(buf, segment)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not canonical base64url", ErrMalformed, name)
	}
	return decoded, nil
}

// algorithm refuses what the tenant does not allow before a key is looked up: a token
// cannot choose how it is verified, and costs no fetch.
func (v *Verifier) algorithm(name string) (Algorithm, error) {
	alg, ok := algorithmOf(name)
	if !ok {
		return "", fmt.Errorf("%w: the header names an unsupported one", ErrAlgorithm)
	}
	if !slices.Contains(v.algorithms, alg) {
		return "", fmt.Errorf("%w: %s is not one of the tenant's", ErrAlgorithm, alg)
	}
	return alg, nil
}

// find returns the key that kid names, if it verifies alg.
func (v *Verifier) find(ctx context.Context, kid string, alg Algorithm) (*Key, error) {
	key, err := v.keys.Find(ctx, kid)
	if err != nil {
		if errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrKeysUnavailable) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	if key == nil {
		return nil, fmt.Errorf("%w: kid %s", ErrUnknownKey, logtext.Quote(kid))
	}
	if !key.verifies(alg) {
		return nil, fmt.Errorf("%w: key %s is not one for %s", ErrAlgorithm, logtext.Quote(kid), alg)
	}
	return key, nil
}

// scratch holds the buffers of one verification. They are pooled: nothing that outlives
// the verification may refer to them, but for claims.raw, which is a string of its own.
type scratch struct {
	bytes  []byte // a token, then its decoded signature and payload
	claims claimSet
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// maxPooledBytes is enough for most tokens; the buffer of a huge one is not pooled.
const maxPooledBytes = 8 << 10

// release returns the buffers to the pool, without the claims, whose text the pool would
// otherwise hold in memory.
func (s *scratch) release() {
	s.claims.clear()
	if cap(s.bytes) <= maxPooledBytes {
		scratchPool.Put(s)
	}
}

// verifySegments checks the signature and returns the decoded payload, which is valid
// until the buffers are used again. Both segments are decoded first: that costs little,
// and a verification much.
func (s *scratch) verifySegments(key *Key, alg Algorithm, token string, firstDot, lastDot int) ([]byte, error) {
	s.bytes = slices.Grow(s.bytes[:0], 2*len(token)) // the token, and both segments decoded
	raw := append(s.bytes, token...)
	withSignature, err := appendDecoded(raw, "signature", raw[lastDot+1:])
	if err != nil {
		return nil, err
	}
	withPayload, err := appendDecoded(withSignature, "payload", raw[firstDot+1:lastDot])
	if err != nil {
		return nil, err
	}
	signed := raw[:lastDot:lastDot] // whoever appends to it gets a copy
	if err := key.verify(alg, signed, withSignature[len(raw):]); err != nil {
		return nil, err
	}
	return withPayload[len(withSignature):], nil
}

// checkClaims checks in the order of the USSO SDK, so that a token with two errors gets
// the same answer here and there.
func (v *Verifier) checkClaims(c *claims) error {
	if err := v.checkTimes(c.expiry, c.notBefore, c.issuedAt); err != nil {
		return err
	}
	if err := v.checkAudience(c); err != nil {
		return err
	}
	if err := v.checkIssuer(c); err != nil {
		return err
	}
	if err := v.checkTokenType(c); err != nil {
		return err
	}
	return v.checkTenant(c)
}

func (v *Verifier) checkAudience(c *claims) error {
	accepted := func(a string) bool { return slices.Contains(v.audiences, a) }
	if !v.skipAudience && !slices.ContainsFunc(c.audiences, accepted) {
		return fmt.Errorf("%w: none of %d values is accepted", ErrAudience, len(c.audiences))
	}
	return nil
}

func (v *Verifier) checkIssuer(c *claims) error {
	if !v.skipIssuer && !slices.Contains(v.issuers, c.issuer) {
		return fmt.Errorf("%w: iss is missing or not accepted", ErrIssuer)
	}
	return nil
}

func (v *Verifier) checkTokenType(c *claims) error {
	if !slices.Contains(v.tokenTypes, c.tokenType) {
		return fmt.Errorf("%w: token_type is not one of %q", ErrTokenType, v.tokenTypes)
	}
	return nil
}

// checkTenant binds the token to the tenant: of two tenants of one issuer, the token of
// one must not be accepted for the other.
func (v *Verifier) checkTenant(c *claims) error {
	if !c.hasTenantID {
		if v.requireTenantID {
			return fmt.Errorf("%w: no tenant_id, and the issuer serves other tenants too", ErrTenant)
		}
		return nil
	}
	if !v.anyTenantID && !slices.Contains(v.tenantIDs, c.tenantID) {
		return fmt.Errorf("%w: tenant_id is not one of %q", ErrTenant, v.tenantIDs)
	}
	if owner := v.otherTenants[c.tenantID]; v.anyTenantID && owner != "" {
		return fmt.Errorf("%w: tenant_id is that of tenant %q", ErrTenant, owner)
	}
	return nil
}

// checkTimes compares with the wall clock. Dates were bounded when they were read, so
// that nothing overflows here.
func (v *Verifier) checkTimes(expiry, notBefore, issuedAt int64) error {
	now := v.now()
	if err := v.checkExpiry(now, expiry); err != nil {
		return err
	}
	if err := v.checkNotBefore(now, notBefore); err != nil {
		return err
	}
	return v.checkIssuedAt(now, issuedAt)
}

func (v *Verifier) checkExpiry(now time.Time, expiry int64) error {
	switch {
	case v.skipExpiry:
		return nil
	case expiry == 0:
		return fmt.Errorf("%w: claim exp: missing", ErrMalformed)
	case !now.Before(time.Unix(expiry, 0).Add(v.leeway)): // on or after (RFC 7519, 4.1.4)
		return fmt.Errorf("%w: at %d", ErrExpired, expiry)
	}
	return nil
}

func (v *Verifier) checkNotBefore(now time.Time, notBefore int64) error {
	if !v.skipNotBefore && notBefore != 0 && now.Add(v.leeway).Before(time.Unix(notBefore, 0)) {
		return fmt.Errorf("%w: not before %d", ErrNotYetValid, notBefore)
	}
	return nil
}

func (v *Verifier) checkIssuedAt(now time.Time, issuedAt int64) error {
	if issuedAt != 0 && now.Add(v.leeway).Before(time.Unix(issuedAt, 0)) {
		return fmt.Errorf("%w: issued in the future, at %d", ErrNotYetValid, issuedAt)
	}
	return nil
}
