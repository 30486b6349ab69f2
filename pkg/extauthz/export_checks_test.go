package extauthz

import (
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// DecodeAnswer reads an answer of ours for interceptors.
var DecodeAnswer = decodeAnswer

// MaxMethod bounds the method of a request.
const MaxMethod = maxMethod

// Whole completes an allow for an identity, whatever prepare thought of it.
func Whole(a *Authorizer, id *jwtverify.Identity) *Answer {
	r := &checkState{identity: id, tenant: &tenants.Tenant{ID: "acme"}}
	r.answer.Allowed, r.answer.prepared = true, &prepared{}
	return a.withIdentityHeaders(&r.answer, r)
}
