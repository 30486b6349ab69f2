package extauthz

import (
	"errors"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// ownedNames are the headers that the configuration gives a meaning: those of
// identities, of tokens, of tenants and of workspaces. Nobody but who is meant
// may speak by one of them, in whatever spelling, or make it vanish on its way.
type ownedNames struct {
	exact  map[string]bool
	folded map[string]bool

	// Bit n: one of them that has other spellings, since there is a sign in it,
	// has n bytes.
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
		o.exact[name], o.folded[folded(name)] = true, true
		if strings.ContainsFunc(name, isSign) {
			o.spelled |= lengthBit(name)
		}
	}
}

// owns tells whether a lower-case name reaches the upstream as one of them.
func (o *ownedNames) owns(name string) bool { return o.folded[folded(name)] }

// isSpelling tells whether a name is one of them in another spelling. Most
// headers are told by their length.
func (o *ownedNames) isSpelling(name string) bool {
	return o.spelled&lengthBit(name) != 0 && o.owns(name) && !o.exact[name]
}

func isSign(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

var errNominated = errors.New("a header of the request takes away or announces one that the configuration gives a meaning")

// checkNominated refuses a request that names one of the headers as one of a
// hop: a proxy behind Envoy would remove it, with the identity in it (RFC 9110
// section 7.6.1), or let a trailer take its place.
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

// removeSpoofs removes what a client sent in the hope that somebody behind us
// reads it as ours or as Envoy's: other spellings of the owned headers, and the headers
// by which ext_authz itself speaks.
func (o *ownedNames) removeSpoofs(headers tenants.Headers, a *Answer) {
	for _, header := range headers {
		if o.isSpelling(header.Name) || header.Name == "x-envoy-auth-failure-mode-allowed" || header.Name == "x-envoy-auth-headers-to-remove" {
			a.RemoveHeaders = append(a.RemoveHeaders, header.Name)
		}
	}
}
