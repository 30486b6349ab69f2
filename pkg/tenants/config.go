package tenants

import (
	"path/filepath"
	"time"
)

// Config is a tenant's block of the configuration file. The names are those
// of the USSO SDK's JWTConfig, so that a user can carry one over. The zero
// value of a field is not always its default: start from DefaultConfig.
type Config struct {
	ID string `yaml:"-"` // the block's key

	Hosts []string `yaml:"hosts"` // exact names, or one label as "*."

	// Exactly one source of keys: a JWKS URL, an OpenID discovery URL, a file
	// with a JWK set, or a key (PEM, one JWK, or a secret for HS256) and its type.
	JWKSURL      string `yaml:"jwks_url"`
	DiscoveryURL string `yaml:"discovery_url"`
	JWKSFile     string `yaml:"jwks_file"` // relative to the configuration file
	Key          Secret `yaml:"key"`
	Type         string `yaml:"type"`

	JWKSTLS   JWKSTLS `yaml:"jwks_tls"`
	AllowHTTP bool    `yaml:"allow_http"` // http:// key URLs of hosts that are not loopback

	Issuer     StringList  `yaml:"issuer"`     // any of them
	Audience   StringList  `yaml:"audience"`   // any match is enough
	Algorithms []string    `yaml:"algorithms"` // default: every asymmetric one; HS256 with a secret
	Header     TokenSource `yaml:"header"`

	VerifyExp bool          `yaml:"verify_exp"`
	VerifyNbf bool          `yaml:"verify_nbf"`
	VerifyAud bool          `yaml:"verify_aud"`
	VerifyIss bool          `yaml:"verify_iss"`
	Leeway    time.Duration `yaml:"leeway"`

	TokenTypes StringList        `yaml:"token_types"`
	TenantIDs  StringList        `yaml:"tenant_ids"` // default: the tenant's own id; "*" is any
	Claims     map[string]string `yaml:"claims"`     // our name to a claim's name or a JSON pointer

	JWKSCache JWKSCache `yaml:"jwks_cache"`
	// JWKSKeepOld lets the keys of the configuration before serve after a reload
	// that names another source for the same issuer, until that has answered once.
	JWKSKeepOld bool    `yaml:"jwks_keep_old"`
	Routes      []Route `yaml:"routes"` // instead of the common ones

	// PathReadings are what the servers behind may do to a path, by name: nil is
	// Shared.Readings, an empty list a strict server.
	PathReadings []string `yaml:"path_readings"`
}

// JWKSCache says how long a remote key set lives.
type JWKSCache struct {
	TTL      time.Duration `yaml:"ttl"`       // the longest time between two fetches
	MaxStale time.Duration `yaml:"max_stale"` // how long keys serve after the last good fetch
}

// JWKSTLS says whom a remote source of keys is believed, and who we are to it.
// The files are relative to the configuration file, and read at each fetch.
type JWKSTLS struct {
	CAFile   string `yaml:"ca_file"`   // PEM, in place of the system's certificates
	CertFile string `yaml:"cert_file"` // PEM, for a server that asks for one
	KeyFile  string `yaml:"key_file"`
}

// within is a file name of the configuration; "" stays.
func within(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// Route is one entry of the routes table: a pattern and what it needs.
type Route struct {
	// Match is a pattern of net/http.ServeMux without a host: "GET /posts/{id}".
	Match    string   `yaml:"match"`
	Public   bool     `yaml:"public"`    // no token needed
	Scopes   []string `yaml:"scopes"`    // all of them, exact names
	AnyScope []string `yaml:"any_scope"` // any of them
	Roles    []string `yaml:"roles"`     // any of them
	AllRoles []string `yaml:"all_roles"` // all of them
	// Workspace is where the request names its workspace: "{param}",
	// "header:Name" or "query:name". It must equal the token's.
	Workspace string `yaml:"workspace"`
	Access    string `yaml:"access"` // the USSO scope language: "update:media/files"
}

// Fault is something wrong in a Config: the field, relative to the tenant's
// block ("routes[2].match"), and what is wrong with it and what to write instead.
type Fault struct {
	Field   string
	Problem string
}

// Error returns the fault as one line.
func (f Fault) Error() string {
	if f.Field == "" {
		return f.Problem
	}
	return f.Field + ": " + f.Problem
}

// DefaultConfig returns what a block that says nothing means.
func DefaultConfig() Config {
	return Config{
		Header:     TokenSource{Header: "Authorization", Cookie: "access_token"},
		VerifyExp:  true,
		VerifyNbf:  true,
		VerifyAud:  true,
		VerifyIss:  true,
		Leeway:     10 * time.Second,
		TokenTypes: StringList{"access"},
		JWKSCache:  JWKSCache{TTL: time.Hour, MaxStale: 24 * time.Hour},

		JWKSKeepOld: true,
	}
}

// StringList is one string or a list of strings in the file.
type StringList []string

// TokenSource says where a tenant's requests carry their token.
type TokenSource struct {
	Header string `yaml:"type"` // the header's name
	// Prefix is the scheme before the token, in any case. nil: "Bearer" for
	// Authorization, none for any other header.
	Prefix *string `yaml:"prefix"`
	Cookie string  `yaml:"cookie_name"` // "": no cookie
}
