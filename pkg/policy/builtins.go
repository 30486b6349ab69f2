package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// builtins is what the engine knows about the functions that a policy can call.
type builtins map[string]aboutBuiltin

type aboutBuiltin struct {
	impure string // why equal arguments may give another value, or ""; "which …"
	slow   bool   // its cost is not bounded by the size of its arguments, and nothing interrupts it
}

// about fails closed for a function that is not known.
func (b builtins) about(name string) aboutBuiltin {
	if known, ok := b[name]; ok {
		return known
	}
	return aboutBuiltin{impure: "is not known to depend on its arguments alone", slow: true}
}

func newBuiltins(declared []*ast.Builtin) builtins {
	b := builtins{}
	for _, decl := range declared {
		about := aboutBuiltin{slow: !steady[decl.Name]}
		switch {
		case decl.Nondeterministic:
			about.impure = "depends on more than its arguments"
		case clocks[decl.Name]: // OPA does not say so
			about.impure = "looks at the clock"
		}
		b[decl.Name] = about
	}
	return b
}

var clocks = names(
	ast.CryptoX509ParseAndVerifyCertificates.Name,
	ast.CryptoX509ParseAndVerifyCertificatesWithOptions.Name,
)

// steady are the functions that take the time of reading their arguments, or
// little more, and those that look at the time limit themselves. A function of
// a later OPA is not among them until somebody looked at it.
var steady = names(
	"abs", "all", "and", "any", "array.concat", "array.flatten", "array.reverse", "array.slice", "assign",
	"base64.decode", "base64.encode", "base64.is_valid", "base64url.decode", "base64url.encode", "base64url.encode_no_pad",
	"bits.and", "bits.lsh", "bits.negate", "bits.or", "bits.rsh", "bits.xor",
	"cast_array", "cast_boolean", "cast_null", "cast_object", "cast_set", "cast_string", "ceil", "concat", "contains", "count",
	"crypto.hmac.equal", "crypto.hmac.md5", "crypto.hmac.sha1", "crypto.hmac.sha256", "crypto.hmac.sha512", "crypto.md5", "crypto.sha1", "crypto.sha256",
	"div", "endswith", "eq", "equal", "floor", "format_int", "glob.quote_meta", "graph.reachable", "gt", "gte",
	"hex.decode", "hex.encode", "http.send", "indexof", "indexof_n", "internal.member_2", "internal.member_3", "internal.template_string", "intersection",
	"io.jwt.decode", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string",
	"json.filter", "json.is_valid", "json.marshal", "json.marshal_with_options", "json.patch", "json.remove", "json.unmarshal",
	"lower", "lt", "lte", "max", "min", "minus", "mul", "neq",
	"net.cidr_contains", "net.cidr_expand", "net.cidr_intersects", "net.cidr_is_valid", "net.cidr_overlap", "net.lookup_ip_addr",
	"numbers.range", "numbers.range_step", "object.filter", "object.get", "object.keys", "object.remove", "object.subset", "object.union", "object.union_n",
	"opa.runtime", "or", "plus", "product", "rand.intn", "rego.metadata.chain", "rego.metadata.rule", "rem", "replace", "round",
	"semver.compare", "semver.is_valid", "set_diff", "sort", "split", "sprintf", "startswith",
	"strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "strings.replace_n", "strings.reverse", "strings.split_n", "substring", "sum",
	"time.add_date", "time.clock", "time.date", "time.diff", "time.format", "time.now_ns", "time.parse_duration_ns", "time.parse_ns", "time.parse_rfc3339_ns", "time.weekday",
	"to_number", "trace", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "type_name",
	"union", "units.parse", "units.parse_bytes", "upper", "uri.is_valid", "uri.parse", "urlquery.decode", "urlquery.decode_object", "urlquery.encode", "urlquery.encode_object",
	"uuid.parse", "uuid.rfc4122", "walk",
	accessBuiltin.Name,
)

// withheld are the functions that a policy doesn't get, and why.
var withheld = map[string]string{
	ast.HTTPSend.Name:        "it reaches the network: list the hosts it may ask in policy.allow_net",
	ast.NetLookupIPAddr.Name: "it reaches the network: list the hosts it may ask in policy.allow_net",
	ast.RenderTemplate.Name:  "a template can write without an end, which would end the service: use sprintf, or an interpolated string",
	ast.RegoParseModule.Name: "a text nested deep enough would end the service",
}

func networkBuiltin(name string) bool {
	return name == ast.HTTPSend.Name || name == ast.NetLookupIPAddr.Name
}

// capabilities are OPA's without what is withheld, with our own. The network is
// reached where the configuration allows hosts.
func capabilities(allowNet []string) *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = append([]string{}, allowNet...)
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return withheld[b.Name] != "" && !(len(allowNet) > 0 && networkBuiltin(b.Name))
	})
	c.Builtins = append(c.Builtins, accessBuiltin)
	return c
}

// implementations are the functions of ours that an evaluation can call.
func implementations() map[string]*topdown.Builtin {
	m := map[string]*topdown.Builtin{accessBuiltin.Name: {Decl: accessBuiltin, Func: access}}
	for name, limit := range limits {
		decl := *ast.BuiltinMap[name]
		decl.Name = limitedName(name)
		m[decl.Name] = &topdown.Builtin{Decl: &decl, Func: limitedBuiltin(name, limit)}
	}
	return m
}

func isLimited(ref ast.Ref) bool {
	_, ok := limits[ref.String()]
	return ok
}

func limitedName(name string) string { return "limited." + name }

// limitCalls puts the limited functions in the place of OPA's own, in compiled
// modules. OPA knows one implementation of a function for the whole process,
// and finds it before any of a query's own.
func limitCalls(modules map[string]*ast.Module) error {
	renamed := func(term *ast.Term) *ast.Term {
		ref, ok := term.Value.(ast.Ref)
		if !ok || !isLimited(ref) {
			return term
		}
		return &ast.Term{Value: ast.MustParseRef(limitedName(ref.String())), Location: term.Location}
	}
	for _, module := range modules {
		ast.WalkExprs(module, func(expr *ast.Expr) bool {
			if terms, ok := expr.Terms.([]*ast.Term); ok && len(terms) > 0 {
				terms[0] = renamed(terms[0])
			}
			for _, with := range expr.With {
				with.Target, with.Value = renamed(with.Target), renamed(with.Value)
			}
			return false
		})
		var left ast.Ref
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			if isLimited(ref) {
				left = ref
			}
			return false
		})
		if left != nil {
			return fmt.Errorf("%v: the call of %v can't be limited", left[0].Location, left)
		}
	}
	return nil
}

func names(list ...string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, name := range list {
		m[name] = true
	}
	return m
}
