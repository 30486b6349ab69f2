package extauthz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// IdentityHeaders names the request headers that carry the verified identity
// to the upstream. An empty name sends none.
type IdentityHeaders struct {
	UserID      string
	TenantID    string
	WorkspaceID string
	Roles       string            // joined by ","
	Scopes      string            // joined by " "
	Claims      map[string]string // header to claim, for claims of scalar type
}

// Bounds on header values, below those of Envoy and of common servers.
const (
	maxElement = 4 << 10 // one id, role, scope or claim
	maxJoined  = 8 << 10 // all roles, or all scopes
)

// errHeaderValue: a claim can't be a header's value.
var errHeaderValue = errors.New("a claim can't be a header value")

// identityHeaders is IdentityHeaders, prepared for requests.
type identityHeaders struct {
	names     IdentityHeaders
	claims    []claimHeader // in the order of their names
	all       []string
	owned     map[string]bool // folded names
	lengths   uint64          // bit n: one of the names has n bytes
	anonymous *prepared       // for requests without an identity
}

type claimHeader struct{ header, claim string }

func newIdentityHeaders(names IdentityHeaders) *identityHeaders {
	h := &identityHeaders{names: names, owned: map[string]bool{}}
	for _, name := range []*string{&h.names.UserID, &h.names.TenantID, &h.names.WorkspaceID, &h.names.Roles, &h.names.Scopes} {
		*name = strings.ToLower(*name) // lower case, or a policy could set it in another case
		h.reserve(*name)
	}
	for _, header := range slices.Sorted(maps.Keys(names.Claims)) {
		name := strings.ToLower(header)
		h.claims = append(h.claims, claimHeader{name, names.Claims[header]})
		h.reserve(name)
	}
	h.anonymous = &prepared{source: h}
	h.anonymous.encode(new(writer), fields{remove: h.all})
	return h
}

func (h *identityHeaders) reserve(name string) {
	if name != "" {
		h.all = append(h.all, name)
		h.owned[foldSeparators(name)] = true
		h.lengths |= lengthBit(name)
	}
}

// owns reports whether the upstream would read a header of this lower-case name as an
// identity header: servers in the CGI tradition read x_user_id as x-user-id, and some
// (lighttpd) every separator as "_". The length alone excludes most names.
func (h *identityHeaders) owns(name string) bool {
	return h.lengths&lengthBit(name) != 0 && h.owned[foldSeparators(name)]
}

// lengthBit returns bit n for a name of n bytes, and bit 63 for all longer ones.
func lengthBit(name string) uint64 { return 1 << min(len(name), 63) }

// foldSeparators turns every separator into a dash. It allocates only if the name has
// another one than a dash.
func foldSeparators(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, name)
}

// prepared holds the encoded parts of an allow that depend only on the identity. It is
// immutable, and cached with the identity.
type prepared struct {
	source *identityHeaders // that made it: a reload may name other headers
	tenant string

	// The identity's fields as an OkHttpResponse has them; tenant, subject and
	// workspace as the metadata has them.
	response, metadata []byte
}

// prepare returns the headers of the identity and the removal of all other identity
// headers, so that the upstream never takes a client's header for ours. For a nil
// identity it removes all of them. The result is cached in id.Derived.
func (h *identityHeaders) prepare(id *jwtverify.Identity, tenant string) (*prepared, error) {
	if id == nil {
		return h.anonymous, nil
	}
	if p, ok := id.Derived.Load().(*prepared); ok && p.source == h && p.tenant == tenant {
		return p, nil
	}
	f, err := h.fields(id, tenant)
	if err != nil {
		return nil, err
	}
	w := writers.Get().(*writer)
	defer w.release()
	p := &prepared{source: h, tenant: tenant}
	p.encode(w, f)
	w.b = w.b[:0]
	w.identity(tenant, subject(id), id.WorkspaceID)
	p.metadata = bytes.Clone(w.b)
	id.Derived.Store(p, p.size())
	return p, nil
}

func (p *prepared) encode(w *writer, f fields) {
	w.overwrite(okHeaders, f.set)
	w.names(okHeadersToRemove, f.remove)
	p.response = bytes.Clone(w.b)
}

// fields are the identity headers of a request: those to set, and the names of those
// without a value, to remove.
type fields struct {
	set    []policy.Header
	remove []string
}

// fields returns the headers of an identity. It fails if a value can't be that of a
// header.
func (h *identityHeaders) fields(id *jwtverify.Identity, tenant string) (fields, error) {
	f := fields{set: make([]policy.Header, 0, len(h.all))}
	if id == nil {
		f.remove = slices.Clone(h.all)
		return f, nil
	}
	roles, err := join("role", id.Roles, ",")
	if err != nil {
		return f, err
	}
	scopes, err := join("scope", id.Scopes, " ")
	if err != nil {
		return f, err
	}
	for _, plain := range []struct{ what, value string }{{"user id", id.UserID}, {"workspace id", id.WorkspaceID}} {
		if !visible(plain.value) {
			return f, fmt.Errorf("%w: the %s", errHeaderValue, plain.what)
		}
	}
	// The subject is no header if there is a user id, but it goes into logs.
	if hasControl(id.Subject) || len(id.Subject) > maxElement {
		return f, fmt.Errorf("%w: the subject", errHeaderValue)
	}
	f.setOrRemove(h.names.UserID, id.UserID)
	f.setOrRemove(h.names.TenantID, tenant)
	f.setOrRemove(h.names.WorkspaceID, id.WorkspaceID)
	f.setOrRemove(h.names.Roles, roles)
	f.setOrRemove(h.names.Scopes, scopes)
	for _, c := range h.claims {
		value, err := claimValue(id.Claims.Get(c.claim))
		if err != nil {
			return f, fmt.Errorf("%w %q", err, c.claim)
		}
		f.setOrRemove(c.header, value)
	}
	return f, nil
}

func (f *fields) setOrRemove(name, value string) {
	switch {
	case name == "":
	case value == "": // Envoy would send an empty header
		f.remove = append(f.remove, name)
	default:
		f.set = append(f.set, policy.Header{Name: name, Value: value})
	}
}

// size estimates the memory in bytes.
func (p *prepared) size() int {
	const itself = 96
	return itself + cap(p.response) + cap(p.metadata)
}

// visible reports whether a value is visible ASCII, and not too long.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) <= maxElement
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// join joins names. It refuses names with a separator: a role "user,admin" must not
// become two roles.
func join(what string, names []string, separator string) (string, error) {
	size := 0
	for _, name := range names {
		size += len(name) + 1
		if !visible(name) || strings.Contains(name, separator) || size > maxJoined {
			return "", fmt.Errorf("%w: a %s", errHeaderValue, what)
		}
	}
	return strings.Join(names, separator), nil
}

// claimValue returns a scalar claim as a header value: visible ASCII as it is, other
// bytes percent-encoded. For a claim of another type it returns "".
func claimValue(claim any) (string, error) {
	switch v := claim.(type) {
	case bool:
		if v {
			return "true", nil
		}
		return "false", nil
	case json.Number: // with all of its digits
		return encodeClaim(v.String())
	case string:
		return encodeClaim(v)
	}
	return "", nil
}

func encodeClaim(s string) (string, error) {
	const digits = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			return "", errHeaderValue
		}
		plain = plain && c > ' ' && c < 0x7f && c != '%'
	}
	if !plain {
		var b strings.Builder
		for i := range len(s) {
			if c := s[i]; c > ' ' && c < 0x7f && c != '%' {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			}
		}
		s = b.String()
	}
	if len(s) > maxElement {
		return "", errHeaderValue
	}
	return s, nil
}
