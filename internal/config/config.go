// Package config reads the configuration: a YAML file, or three variables of
// the environment for the mode of one tenant. Unknown keys are faults, and all
// faults of a file are reported together, each with its line, its field and
// what to write instead. Key material never shows in a fault.
//
// Three rules go beyond YAML. Scalars may hold ${env:NAME} and
// ${env:NAME:-default} ($$ is a dollar sign); they are filled in after the file
// is parsed, so a variable can't add keys. What stands under "defaults:" is
// inherited by every tenant that does not write the key itself: whole keys, so
// a tenant's "header:" replaces the inherited one and is not mixed with it; and
// a tenant that names a source of keys of its own inherits neither a source nor
// the type of a key. A key without a value (null) is a fault.
package config

import (
	"crypto/sha256"
	"time"

	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Config is a whole configuration, checked. Nothing in it may be changed: what
// tenants inherit is shared between them.
type Config struct {
	Listen          string           `yaml:"listen"` // gRPC: host:port, or unix:///path
	TLS             TLS              `yaml:"tls"`
	RequireTLS      bool             `yaml:"require_tls"`
	Admin           Admin            `yaml:"admin"`
	Log             Log              `yaml:"log"`
	Limits          Limits           `yaml:"limits"`
	Caches          Caches           `yaml:"caches"`
	TenantSelection TenantSelection  `yaml:"tenant_selection"`
	IdentityHeaders IdentityHeaders  `yaml:"identity_headers"`
	ForwardToken    bool             `yaml:"forward_token"` // false: the upstream never sees the credential
	Policy          Policy           `yaml:"policy"`
	DecisionLog     DecisionLog      `yaml:"decision_log"`
	JWKSDir         string           `yaml:"jwks_dir"`          // keeps key sets over restarts, joined with Dir; "": nowhere
	JWKSDenyPrivate bool             `yaml:"jwks_deny_private"` // no key server has a private address
	Shutdown        Shutdown         `yaml:"shutdown"`
	Revocation      Revocation       `yaml:"revocation"`
	Tenants         []tenants.Config `yaml:"-"`             // sorted by id
	Routes          []tenants.Route  `yaml:"routes"`        // of the tenants without their own
	PathReadings    []string         `yaml:"path_readings"` // of the servers behind: tenants.ReadingNames; empty: none

	Single   bool         `yaml:"-"` // one tenant for every request, from the environment
	Path     string       `yaml:"-"` // the file, as it was named; "" without one
	Dir      string       `yaml:"-"` // its folder, where relative names begin
	Warnings []FieldError `yaml:"-"` // what is allowed but probably not meant, sorted

	Digest [sha256.Size]byte `yaml:"-"` // of the file's content
}

// TLS is the gRPC listener's certificate. File names are joined with Config.Dir.
type TLS struct {
	CertFile     string   `yaml:"cert_file"`
	KeyFile      string   `yaml:"key_file"`
	ClientCAFile string   `yaml:"client_ca_file"` // set: clients need a certificate of it
	Peers        []string `yaml:"peers"`          // and one of these names: spiffe://… or DNS names; empty: any
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Admin is the HTTP listener for probes and metrics.
type Admin struct {
	Listen string `yaml:"listen"` // "" switches it off
	// Hosts are names beside addresses, localhost, names without a dot and those of
	// a cluster that a request's Host may have: any other could be a web page's.
	Hosts []string `yaml:"hosts"`
	Pprof bool     `yaml:"pprof"` // adds /debug/pprof
	// MaxSeries bounds the combinations of tenant, route and reason that checks
	// are counted by; further ones count as "other".
	MaxSeries int `yaml:"max_series"`
}

// Log is the service's own log on stderr.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text
}

// Limits bounds what the service takes at a time, beyond which it sheds, and what
// a policy is given of one request.
type Limits struct {
	MaxInFlight      int  `yaml:"max_in_flight"`
	MaxInFlightBytes Size `yaml:"max_in_flight_bytes"` // of large checks, all in all
	MaxRequestBytes  Size `yaml:"max_request_bytes"`

	MaxQueryNames  int `yaml:"max_query_names"`  // of a query or a form that the policy reads
	MaxObjectNames int `yaml:"max_object_names"` // of an object in a body that the policy reads
}

// Caches bounds the caches' memory; 0 switches one off.
type Caches struct {
	Tokens    Size `yaml:"tokens"`
	Decisions Size `yaml:"decisions"`
}

// TenantSelection says what names a request's tenant, beside its host.
type TenantSelection struct {
	Header           string `yaml:"header"`            // "" switches it off
	ContextExtension string `yaml:"context_extension"` // "" switches it off
	Default          string `yaml:"default"`           // the tenant of requests that name none
}

// IdentityHeaders are the names, in lower case, of the headers that carry the
// verified identity to the upstream; "" switches one off.
type IdentityHeaders struct {
	UserID      string            `yaml:"user_id"`
	TenantID    string            `yaml:"tenant_id"`
	WorkspaceID string            `yaml:"workspace_id"`
	Roles       string            `yaml:"roles"`
	Scopes      string            `yaml:"scopes"`
	Claims      map[string]string `yaml:"claims"` // header to claim
}

// Policy says which Rego decides.
type Policy struct {
	Entrypoint      string        `yaml:"entrypoint"`
	Paths           []string      `yaml:"paths"`            // joined with Config.Dir; empty: the embedded policy
	Timeout         time.Duration `yaml:"timeout"`          // of one evaluation
	AllowNet        []string      `yaml:"allow_net"`        // hosts that http.send may ask; empty: none
	Bundles         Sections      `yaml:"bundles"`          // OPA's own: services, bundles, keys, …
	ProtoDescriptor string        `yaml:"proto_descriptor"` // joined with Config.Dir; "": gRPC bodies are null
}

// DecisionLog says where decisions are written to, a line for each. The zero
// value writes none.
type DecisionLog struct {
	Console bool            `yaml:"console"` // standard output; the service's own log is on stderr
	File    DecisionFile    `yaml:"file"`
	Service DecisionService `yaml:"service"`

	SampleAllows float64        `yaml:"sample_allows"` // the share of allows that are written; denials always are
	Input        bool           `yaml:"input"`         // what the policy saw too, without credentials
	Masks        []DecisionMask `yaml:"masks"`
	Buffer       Size           `yaml:"buffer"` // memory for each writer; twice that while it writes
}

// Enabled reports whether decisions are written anywhere.
func (d DecisionLog) Enabled() bool { return d.Console || d.File.Path != "" || d.Service.URL != "" }

// DecisionFile is a log file that rotates.
type DecisionFile struct {
	Path     string        `yaml:"path"`      // joined with Config.Dir
	MaxSize  Size          `yaml:"max_size"`  // beyond, the file is moved aside
	MaxFiles int           `yaml:"max_files"` // of those moved aside
	MaxAge   time.Duration `yaml:"max_age"`   // of those moved aside; 0: no bound
}

// DecisionService speaks OPA's decision log protocol.
type DecisionService struct {
	URL       string                    `yaml:"url"`       // without /logs
	Partition string                    `yaml:"partition"` // a name behind /logs/
	Token     tenants.Secret            `yaml:"token"`     // sent as Bearer
	Headers   map[string]tenants.Secret `yaml:"headers"`
	CAFile    string                    `yaml:"ca_file"` // instead of the system's; joined with Config.Dir
	AllowHTTP bool                      `yaml:"allow_http"`
	Delay     time.Duration             `yaml:"delay"` // gathers decisions that long
}

// DecisionMask hides a part of each record.
type DecisionMask struct {
	Op    string `yaml:"op"`   // remove or upsert
	Path  string `yaml:"path"` // a JSON pointer
	Value any    `yaml:"value"`
}

// Shutdown is how long each step of an orderly end may take.
type Shutdown struct {
	Drain time.Duration `yaml:"drain"` // reports not ready, still serves
	Grace time.Duration `yaml:"grace"` // finishes what is in flight
}

// Default returns the configuration of a file that says nothing.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:9191",
		Admin:           Admin{Listen: "127.0.0.1:9192", MaxSeries: 10000},
		Log:             Log{Level: "info", Format: "json"},
		Limits:          Limits{MaxInFlight: 4096, MaxInFlightBytes: 64 * MiB, MaxRequestBytes: MiB, MaxQueryNames: policy.DefaultQueryNames, MaxObjectNames: policy.DefaultObjectNames},
		Caches:          Caches{Tokens: 64 * MiB, Decisions: 64 * MiB},
		TenantSelection: TenantSelection{Header: "X-Tenant-ID", ContextExtension: "tenant"},
		IdentityHeaders: IdentityHeaders{
			UserID: "x-user-id", TenantID: "x-tenant-id", WorkspaceID: "x-workspace-id",
			Roles: "x-roles", Scopes: "x-scopes",
		},
		ForwardToken: true,
		PathReadings: tenants.ReadingNames(),
		Policy:       Policy{Entrypoint: "usso/authz/decision", Timeout: 100 * time.Millisecond},
		DecisionLog: DecisionLog{
			SampleAllows: 1, Buffer: 8 * MiB,
			File:    DecisionFile{MaxSize: 100 * MiB, MaxFiles: 10},
			Service: DecisionService{Delay: time.Second},
		},
		Revocation: Revocation{OnUnavailable: "keep"},
		Shutdown:   Shutdown{Drain: 5 * time.Second, Grace: 15 * time.Second},
	}
}
