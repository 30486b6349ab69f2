package devissuer

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// User is what a token says about its bearer.
type User struct {
	Subject   string
	Workspace string
	Roles     []string
	Scopes    []string

	Issuer   string         // "": the tenant's first
	Audience []string       // nil: the tenant's first
	Lifetime time.Duration  // 0: an hour; negative: a token that has expired
	Claims   map[string]any // further ones, by name or JSON pointer; they win, and nil removes one
}

// Claims returns the claims of a token that the tenant accepts, each where the
// tenant's claims: says that it is read.
func (t *Tenant) Claims(u User) map[string]any {
	claims := map[string]any{}
	t.place(claims, "sub", u.Subject)
	if u.Workspace != "" {
		t.place(claims, "workspace_id", u.Workspace)
	}
	if len(u.Roles) > 0 {
		t.place(claims, "roles", slices.Clone(u.Roles))
	}
	if len(u.Scopes) > 0 {
		t.place(claims, "scopes", slices.Clone(u.Scopes))
	}
	if u.Issuer != "" {
		claims["iss"] = u.Issuer
	}
	if len(u.Audience) > 0 {
		claims["aud"] = u.Audience
	}
	if u.Lifetime == 0 {
		u.Lifetime = time.Hour
	}
	claims["exp"] = t.now().Add(u.Lifetime).Unix()
	if u.Lifetime < 0 { // issued before it expired
		claims["iat"] = t.now().Add(u.Lifetime - time.Hour).Unix()
	}
	t.complete(claims)
	for _, name := range slices.Sorted(maps.Keys(u.Claims)) {
		set(claims, name, u.Claims[name])
	}
	return claims
}

// complete adds what a token needs and the claims don't have.
func (t *Tenant) complete(claims map[string]any) {
	now := t.now()
	if len(t.cfg.Issuer) > 0 {
		add(claims, "iss", t.cfg.Issuer[0])
	}
	if len(t.cfg.Audience) > 0 {
		add(claims, "aud", t.cfg.Audience[0])
	}
	add(claims, "iat", now.Unix())
	add(claims, "exp", now.Add(time.Hour).Unix())
	if types := t.cfg.TokenTypes; len(types) > 0 && !slices.Contains(types, "access") {
		t.placeNew(claims, "token_type", types[0])
	}
	// What the tenant accepts, its own id where it says nothing.
	id := t.cfg.ID
	if ids := t.cfg.TenantIDs; len(ids) > 0 && !slices.Contains(ids, id) && !slices.Contains(ids, "*") {
		id = ids[0]
	}
	t.placeNew(claims, "tenant_id", id)
}

func add(claims map[string]any, name string, value any) {
	if _, has := claims[name]; !has {
		claims[name] = value
	}
}

// at returns where the tenant's tokens have one of our claims.
func (t *Tenant) at(name string) string {
	if mapped := t.cfg.Claims[name]; mapped != "" {
		return mapped
	}
	return name
}

func (t *Tenant) place(claims map[string]any, name string, value any) {
	set(claims, t.at(name), value)
}

func (t *Tenant) placeNew(claims map[string]any, name string, value any) {
	at := t.at(name)
	if object, last := find(claims, at, false); object != nil {
		if _, has := object[last]; has {
			return
		}
	}
	set(claims, at, value)
}

// set writes a claim at a name, or at a JSON pointer (RFC 6901) into objects,
// which it makes on the way; nil removes the claim.
func set(claims map[string]any, at string, value any) {
	object, last := find(claims, at, value != nil)
	switch {
	case object == nil:
	case value == nil:
		delete(object, last)
	default:
		object[last] = value
	}
}

// find returns the object that holds the claim and the claim's name in it, or
// a nil object where there is none and none is to be made.
func find(claims map[string]any, at string, create bool) (object map[string]any, last string) {
	if !strings.HasPrefix(at, "/") {
		return claims, at
	}
	names := strings.Split(at[1:], "/")
	for i := range names {
		names[i] = strings.ReplaceAll(strings.ReplaceAll(names[i], "~1", "/"), "~0", "~")
	}
	for _, name := range names[:len(names)-1] {
		inner, ok := claims[name].(map[string]any)
		if !ok {
			if !create {
				return nil, ""
			}
			inner = map[string]any{}
			claims[name] = inner
		}
		claims = inner
	}
	return claims, names[len(names)-1]
}
