// Package envoycheck reads configurations of Envoy and reports what lets requests
// past ussoauthz, or breaks what the two say to each other. It knows the fields it
// reads by their names and type URLs, and links none of Envoy's types.
package envoycheck

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ussoio/ussoauthz/internal/config"
)

// Severity says what becomes of a finding's file.
type Severity string

const (
	// Error: a request gets in unasked or as somebody else, or none gets in.
	Error Severity = "error"
	// Warning: something is weaker than it has to be, or fails for some requests.
	Warning Severity = "warning"
)

// Kind names what was found. It does not change, so that scripts can look for it.
type Kind string

// The kinds of findings.
const (
	Unreadable         Kind = "unreadable"
	NoFilter           Kind = "no_filter"
	Unguarded          Kind = "unguarded"
	FilterDisabled     Kind = "filter_disabled"
	RouteDisables      Kind = "route_disables"
	FailureModeAllow   Kind = "failure_mode_allow"
	FilterEnabled      Kind = "filter_enabled"
	Unasked            Kind = "unasked"
	ShadowMode         Kind = "shadow_mode"
	StatusOnError      Kind = "status_on_error"
	TransportVersion   Kind = "transport_api_version"
	NotGRPC            Kind = "not_grpc"
	ClusterMissing     Kind = "cluster_missing"
	HTTP2              Kind = "http2"
	TLS                Kind = "tls"
	TLSUnverified      Kind = "tls_unverified"
	Timeout            Kind = "timeout"
	MutationRules      Kind = "mutation_rules"
	ValidateMutations  Kind = "validate_mutations"
	AllowedHeaders     Kind = "allowed_headers"
	ClearRouteCache    Kind = "clear_route_cache"
	BodyLimit          Kind = "body_limit"
	BufferLimit        Kind = "buffer_limit"
	PackAsBytes        Kind = "pack_as_bytes"
	RouteWithoutBody   Kind = "route_without_body"
	UnknownTenant      Kind = "unknown_tenant"
	Normalization      Kind = "normalization"
	HostSpelling       Kind = "host_spelling"
	Underscores        Kind = "underscores"
	RewritingHeaders   Kind = "rewriting_headers"
	IdentityHeaderLate Kind = "identity_header_late"
	FilterAfter        Kind = "filter_after"
	TokenRemoved       Kind = "token_removed"
)

var severities = map[Kind]Severity{
	Unreadable: Error, NoFilter: Error, Unguarded: Error, FilterDisabled: Error, RouteDisables: Error,
	FailureModeAllow: Error, FilterEnabled: Error, Unasked: Error, ShadowMode: Error,
	StatusOnError: Warning, TransportVersion: Error, NotGRPC: Error, ClusterMissing: Error, HTTP2: Error,
	TLS: Error, TLSUnverified: Warning, Timeout: Warning,
	MutationRules: Error, ValidateMutations: Warning, AllowedHeaders: Error, ClearRouteCache: Warning,
	BodyLimit: Warning, BufferLimit: Warning, PackAsBytes: Warning, RouteWithoutBody: Warning,
	UnknownTenant: Error, Normalization: Warning, HostSpelling: Warning, Underscores: Warning,
	RewritingHeaders: Warning, IdentityHeaderLate: Error, FilterAfter: Warning, TokenRemoved: Error,
}

// Kinds returns every kind, sorted.
func Kinds() []Kind {
	kinds := make([]Kind, 0, len(severities))
	for kind := range severities {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return kinds
}

// Finding is one thing that opens or breaks, where it is and what to write.
type Finding struct {
	Kind     Kind     `json:"kind"`
	Severity Severity `json:"severity"`
	config.FieldError
}

// Check reads the text of a file: a bootstrap in YAML or JSON, resources of xDS, a
// config_dump of Envoy's admin interface, or manifests of Istio and Envoy Gateway.
// cfg is the configuration of the ussoauthz that it is for; nil stands for the
// defaults, and leaves out what only a configuration can tell.
func Check(file string, text []byte, cfg *config.Config) []Finding {
	f := &checker{name: file, cfg: cfg, service: cfg}
	if cfg == nil {
		defaults := config.Default()
		f.service = &defaults
	}
	f.check(text)
	slices.SortStableFunc(f.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.CompactFunc(f.findings, func(a, b Finding) bool { return a == b })
}

// checker is a file under check.
type checker struct {
	name     string
	cfg      *config.Config // nil: none was given
	service  *config.Config // cfg, or the defaults
	findings []Finding
}

// report adds a finding about a field of n.
func (f *checker) report(kind Kind, n node, field, format string, args ...any) {
	f.findings = append(f.findings, Finding{kind, severities[kind], config.FieldError{
		File: f.name, Line: n.line(), Field: field, Problem: fmt.Sprintf(format, args...),
	}})
}
