package metamorphic

import (
	_ "embed" // the policies
	"slices"

	"github.com/ussoio/ussoauthz/test/oracle"
)

//go:embed testdata/policies/meta.rego
var rego string

// policiesFile stands beside every configuration.
const policiesFile = "policies.rego"

// entrypoints are the policies that a world may have; "" is the embedded one.
var entrypoints = []string{"", "", "", "meta/claims", "meta/parts", "meta/odd"}

// specified is what the rules of meta.rego say.
var specified = map[string]oracle.Policy{
	"meta/claims": func(in oracle.Input) oracle.Decision {
		plan := any(nil)
		if in.Identity != nil {
			plan = in.Identity.Claims["plan"]
		}
		d := oracle.Default(in)
		switch {
		case oracle.Unreadable(plan):
			return oracle.Decision{Reason: "invalid_request"}
		case plan == "free" && in.Method != "GET" && in.Method != "HEAD":
			return oracle.Decision{Reason: "upgrade", Status: 402}
		case plan == "gold" && d.Allowed:
			return oracle.Decision{Allowed: true, Set: map[string]string{"x-plan-seen": "gold"}, Removed: []string{"x-h"}}
		}
		return d
	},
	"meta/parts": func(in oracle.Input) oracle.Decision {
		id, named := in.Params["id"]
		ofTenant := in.Host == "acme.example" || in.Host == "globex.example"
		closed := slices.Contains(in.Plain, "admin") || len(in.Plain) > 1 && in.Plain[1] == "items"
		return oracle.Decision{Allowed: in.Headers["x-flag"] == "on" && !closed ||
			slices.Equal(in.Query["flag"], []string{"1"}) ||
			len(in.Segments) > 1 && in.Segments[1] == "x" && in.Route != nil && in.Route.Public ||
			named && in.Identity != nil && id == in.Identity.WorkspaceID && ofTenant}
	},
	"meta/odd": func(in oracle.Input) oracle.Decision {
		switch {
		case in.Method == "POST":
			return oracle.Decision{Allowed: true, Set: map[string]string{"x_user_id": "root"}}
		case in.Method == "DELETE":
			return oracle.Decision{Allowed: true, Removed: []string{"x-roles"}}
		case in.Method == "HEAD":
			return oracle.Decision{Reason: "closed"}
		case in.Method == "PUT" || in.Identity == nil:
			return oracle.Decision{Reason: "policy_error"}
		}
		return oracle.Decision{Allowed: true, Set: map[string]string{"cookie": "c=1", "authorization": "Basic eDp5"}, Removed: []string{"x-token"}}
	},
}
