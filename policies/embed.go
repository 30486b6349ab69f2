// Package policies holds the Rego that is built into the service: the usso
// library for policy authors, and the policy that serves where the
// configuration names none.
//
// The same files run in stock OPA: `opa test policies/` runs their tests.
package policies

import "embed"

// FS holds usso/usso.rego and usso/scopes.rego (package usso) and
// authz/authz.rego (package usso.authz). Their tests are not in it.
//
//go:embed usso/usso.rego usso/scopes.rego authz/authz.rego
var FS embed.FS
