// Package policies holds the Rego that is built into the service: the usso
// library for policy authors, the policy that decides if the configuration
// names none, and the schema of what a policy can read.
//
// The same files run in stock OPA: `opa test policies/` runs their tests, and
// `opa eval --schema policies/schemas/input.json` checks a policy.
package policies

import "embed"

// FS holds usso/usso.rego, usso/routes.rego and usso/scopes.rego (package usso)
// and authz/authz.rego (package usso.authz). Their tests are not in it.
//
//go:embed usso/usso.rego usso/routes.rego usso/scopes.rego authz/authz.rego
var FS embed.FS

// LibraryVersion is the version of package usso: its rule version.
const LibraryVersion = "1.1.1"

// InputSchema is the file of Schemas that describes input.
const InputSchema = "schemas/input.json"

// Schemas holds InputSchema, a JSON schema of draft 7: the newest that OPA
// reads.
//
//go:embed schemas/input.json
var Schemas embed.FS
