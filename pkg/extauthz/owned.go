package extauthz

import (
	"errors"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// ownedNames are the headers that the configuration gives a meaning: of identities,
// tokens, tenants and workspaces. A client must not send an identity header to the
// upstream in any spelling, or have a proxy remove one of these headers on the way.
type ownedNames struct {
	exact  map[string]bool
	folded map[string]bool

	// Bit n: a name of n bytes has a separator, and so other spellings.
	spelled uint64
}

func (a *Authorizer) ownNames() {
	o := &a.owned
	o.exact, o.folded = map[string]bool{}, map[string]bool{}
	for _, name := range a.headers.all {
		o.add(name)
	}
	o.add(a.tenants.Header())
	for _, t := range a.tenants.Tenants() {
		o.add(strings.ToLower(t.Token.Header))
		if t.Token.Cookie != "" {
			o.add("cookie")
		}
	}
	for routes := range a.routes {
		for i := range routes.Len() {
			if place, name := routes.Route(i).WorkspaceAt(); place == tenants.HeaderPlace {
				o.add(name)
			}
		}
	}
}

func (o *ownedNames) add(name string) {
	if name != "" {
		o.exact[name], o.folded[foldSeparators(name)] = true, true
		if strings.ContainsFunc(name, isSign) {
			o.spelled |= lengthBit(name)
		}
	}
}

// owns reports whether an upstream could read a lower-case name as one of them.
func (o *ownedNames) owns(name string) bool { return o.folded[foldSeparators(name)] }

// isSpelling reports whether a name is one of them in another spelling. The length
// alone excludes most names.
func (o *ownedNames) isSpelling(name string) bool {
	return o.spelled&lengthBit(name) != 0 && o.owns(name) && !o.exact[name]
}

func isSign(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

var errNominated = errors.New("a Connection or Trailer header of the request names a header that the configuration gives a meaning")

// checkNominated refuses a request whose Connection or Trailer header names one of
// them: a proxy behind Envoy would remove it as hop-by-hop, with the identity in it
// (RFC 9110 section 7.6.1), or let a trailer replace it.
func (o *ownedNames) checkNominated(headers tenants.Headers) error {
	for i := range headers {
		switch headers[i].Name {
		case "connection", "proxy-connection", "trailer":
			for name := range strings.SplitSeq(headers[i].Value, ",") {
				if o.owns(strings.ToLower(strings.Trim(name, " \t"))) {
					return errNominated
				}
			}
		}
	}
	return nil
}

// removeSpoofs removes headers that a server behind could take for ours or Envoy's:
// other spellings of the owned names, and the headers that ext_authz itself sets.
func (o *ownedNames) removeSpoofs(headers tenants.Headers, a *Answer) {
	for _, header := range headers {
		if o.isSpelling(header.Name) || header.Name == "x-envoy-auth-failure-mode-allowed" || header.Name == "x-envoy-auth-headers-to-remove" {
			a.RemoveHeaders = append(a.RemoveHeaders, header.Name)
		}
	}
}
