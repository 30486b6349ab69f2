package tenants

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

const (
	maxLeeway = 5 * time.Minute
	minTTL    = time.Second
	maxTTL    = 24 * time.Hour
)

// anyTenantID as the only entry of tenant_ids accepts every tenant_id.
const anyTenantID = "*"

// Check returns every fault of the configuration, in the order of its fields.
// dir is the folder that relative file names start from. It reads files but
// asks no network, and its texts hold nothing of a secret.
func (c *Config) Check(dir string) []Fault {
	_, faults := c.inspect(dir)
	return faults
}

// parts is what the checks read out of a Config on their way.
type parts struct {
	hosts      []string
	keys       *jwtverify.StaticKeySet // nil: remote
	algorithms []jwtverify.Algorithm
	routes     *Routes   // nil: the common ones
	readings   *Readings // nil: the common ones
}

// inspector collects the faults of one Config.
type inspector struct {
	*Config
	dir    string
	parts  parts
	faults []Fault
}

func (c *Config) inspect(dir string) (parts, []Fault) {
	in := &inspector{Config: c, dir: dir}
	if !isID(c.ID) {
		in.fault("", "%.80q %s", c.ID, idRule)
	}
	in.checkHosts()
	in.checkKeySource()
	in.checkJWKSTLS()
	in.checkAlgorithms()
	in.checkIssuer()
	in.checkAccepted()
	in.checkTokenSource()
	in.checkTimes()
	in.checkClaims()
	in.checkReadings()
	if len(c.Routes) > 0 {
		routes, faults := NewRoutes(c.Routes)
		in.parts.routes = routes
		for _, f := range faults {
			in.fault("routes"+f.Field, "%s", f.Problem)
		}
	}
	return in.parts, in.faults
}

func (in *inspector) fault(field, format string, args ...any) {
	in.faults = append(in.faults, Fault{field, fmt.Sprintf(format, args...)})
}

func (in *inspector) checkReadings() {
	readings, faults := ParseReadings(in.PathReadings)
	for _, f := range faults {
		in.fault("path_readings"+f.Field, "%s", f.Problem)
	}
	if in.PathReadings != nil {
		in.parts.readings = &readings
	}
}

func (in *inspector) checkHosts() {
	for i, pattern := range in.Hosts {
		host, err := parseHostPattern(pattern)
		field := fmt.Sprintf("hosts[%d]", i)
		switch {
		case err != nil:
			in.fault(field, "%.80q: %s", pattern, strings.TrimPrefix(err.Error(), "host: "))
		case slices.Contains(in.parts.hosts, host):
			in.fault(field, "%q is there twice: remove one", host)
		default:
			in.parts.hosts = append(in.parts.hosts, host)
		}
	}
}

// checkAlgorithms runs after the keys are read: what they can do decides.
func (in *inspector) checkAlgorithms() {
	secret := !in.Key.IsZero() && in.Type == string(jwtverify.HS256)
	if in.Algorithms == nil {
		in.parts.algorithms = jwtverify.Asymmetric()
		if secret {
			in.parts.algorithms = []jwtverify.Algorithm{jwtverify.HS256}
		}
		return
	}
	if len(in.Algorithms) == 0 {
		in.fault("algorithms", "is empty, so no token could pass: name one, or remove it for every asymmetric one")
		return
	}
	good := true
	for i, name := range in.Algorithms {
		field := fmt.Sprintf("algorithms[%d]", i)
		algorithm, err := jwtverify.ParseAlgorithm(name)
		switch {
		case err != nil:
			in.fault(field, "%s", err)
		case algorithm == jwtverify.HS256 && !secret:
			in.fault(field, "HS256 needs a secret that only the issuer and you know: give it as key with type HS256, or remove HS256")
		case algorithm != jwtverify.HS256 && secret:
			in.fault(field, "%s can't be verified with a secret: with type HS256 the list is [HS256], or is left out", algorithm)
		default:
			in.parts.algorithms = append(in.parts.algorithms, algorithm)
			continue
		}
		good = false
	}
	if possible := in.possible(); good && possible != nil && !overlap(in.parts.algorithms, possible) {
		in.fault("algorithms", "no key has one of %v, so no token could pass: the keys are for %v", in.parts.algorithms, possible)
	}
}

// possible returns what the keys can do, nil where that is not known.
func (in *inspector) possible() (list []jwtverify.Algorithm) {
	if in.parts.keys == nil {
		return nil
	}
	for _, key := range in.parts.keys.Keys() {
		list = append(list, key.Algorithms()...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func overlap[T comparable](a, b []T) bool {
	return slices.ContainsFunc(a, func(v T) bool { return slices.Contains(b, v) })
}

func (in *inspector) checkIssuer() {
	in.checkStrings("issuer", in.Issuer)
	in.checkStrings("audience", in.Audience)
	switch {
	case len(in.Issuer) > 0:
	case in.VerifyIss:
		in.fault("issuer", "is missing: write the iss of the tenant's tokens; verify_iss: false would accept those of any issuer with the same keys")
	case in.DiscoveryURL != "":
		in.fault("issuer", "is missing: a discovery document is only believed where it names an issuer that is expected")
	}
	if len(in.Audience) == 0 && in.VerifyAud {
		in.fault("audience", "is missing: write the aud of the tenant's tokens; verify_aud: false would accept tokens meant for other services")
	}
}

func (in *inspector) checkAccepted() {
	in.checkStrings("token_types", in.TokenTypes)
	in.checkStrings("tenant_ids", in.TenantIDs)
	if len(in.TokenTypes) == 0 {
		in.fault("token_types", "is empty, so no token could pass: write access")
	}
	if in.TenantIDs != nil && len(in.TenantIDs) == 0 {
		in.fault("tenant_ids", "is empty, so no token could pass: remove it for the tenant's own id, or write \"*\" for any")
	}
	if len(in.TenantIDs) > 1 && slices.Contains(in.TenantIDs, anyTenantID) {
		in.fault("tenant_ids", `"*" is any id: write it alone, or only the ids`)
	}
}

func (in *inspector) checkStrings(field string, list StringList) {
	for i, s := range list {
		at := field
		if len(list) > 1 {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		if s == "" {
			in.fault(at, "an empty value matches no token: write one or remove the entry")
		} else if s != strings.TrimSpace(s) {
			in.fault(at, "%.80q has blanks at an end, and values are compared byte by byte: remove them", s)
		}
	}
}

func (in *inspector) checkTokenSource() {
	source := &in.Header
	name := strings.ToLower(source.Header)
	switch {
	case name == "" && source.Cookie == "":
		in.fault("header", "neither type nor cookie_name is there, so no token could be found: write type: Authorization")
	case name == "cookie":
		in.fault("header.type", "the Cookie header is no token: write the cookie's name as cookie_name")
	case name != "" && !isHTTPToken(name):
		in.fault("header.type", "%.80q is no header name", source.Header)
	case isReservedHeader(name):
		in.fault("header.type", "%q belongs to the protocol and can't carry a token: write Authorization or a name of your own", source.Header)
	}
	if source.Prefix != nil && *source.Prefix != "" && !isHTTPToken(*source.Prefix) {
		in.fault("header.prefix", "%.80q is no authentication scheme: write one word without blanks, for example Bearer, or \"\" for none", *source.Prefix)
	}
	if source.Cookie != "" && !isHTTPToken(source.Cookie) {
		in.fault("header.cookie_name", "%.80q is no cookie name: blanks, ';', ',' and '=' can't be in one", source.Cookie)
	}
}

// isReservedHeader tells whether the lower-case name frames a message, names
// its host, or steers proxies.
func isReservedHeader(name string) bool {
	switch name {
	case "host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding",
		"te", "trailer", "upgrade", "keep-alive", "expect", "date", "via", "forwarded", "proxy-connection", "set-cookie",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port":
		return true // but X-Forwarded-Access-Token is oauth2-proxy's, and a token
	}
	return strings.HasPrefix(name, "x-envoy-")
}

func (in *inspector) checkTimes() {
	if in.Leeway < 0 || in.Leeway > maxLeeway {
		in.fault("leeway", "%s is not between 0s and %s: it is for clocks that differ, not for long sessions", in.Leeway, maxLeeway)
	}
	cache := in.JWKSCache
	if cache == (JWKSCache{}) && !in.isRemote() {
		return // a Config made in Go, which uses none
	}
	if cache.TTL < minTTL || cache.TTL > maxTTL {
		in.fault("jwks_cache.ttl", "%s is not between %s and %s", cache.TTL, minTTL, maxTTL)
	}
	if cache.MaxStale < cache.TTL {
		in.fault("jwks_cache.max_stale", "%s is less than the ttl of %s: keys would run out between two fetches", cache.MaxStale, cache.TTL)
	}
}

// mappableClaims are our names that a token of another issuer may spell
// differently: those of jwtverify.Config.Claims. What decides about trust and
// time (iss, aud, exp, nbf) is not among them.
func mappableClaims() []string {
	return []string{"user_id", "sub", "tenant_id", "workspace_id", "roles", "scopes", "token_type", "session_id"}
}

func (in *inspector) checkClaims() {
	for _, name := range slices.Sorted(maps.Keys(in.Claims)) {
		field, place := "claims."+name, in.Claims[name]
		switch {
		case !slices.Contains(mappableClaims(), name):
			in.fault(field, "is no claim that can be mapped: use one of %s", strings.Join(mappableClaims(), ", "))
		case place == "":
			in.fault(field, "is empty: write a claim's name, or a JSON pointer that starts with '/'")
		case place[0] == '/' && !isPointer(place):
			in.fault(field, "%.80q is no JSON pointer: '~' is written ~0, and '/' in a name ~1", place)
		}
	}
}

// isPointer tells whether every '~' of a JSON pointer is escaped (RFC 6901).
func isPointer(s string) bool {
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return false
		}
	}
	return true
}
