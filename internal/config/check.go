package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// checker tests what single values can't show: ranges, files, and what the
// parts of a configuration say about each other.
type checker struct {
	c      *Config
	blocks []block // of c.Tenants, in the same order
	d      *decoder
	place  func(field string) (line int, name string)

	common   tenants.Readings // of the servers behind tenants that name none
	reported map[string]bool  // faults of inherited values, each once
}

func (k *checker) all() {
	if k.d.stopped {
		return // half of the file is unread, faults would be made up
	}
	k.reported = map[string]bool{}
	for _, check := range []func(){
		k.listeners, k.tls, k.keyStore, k.log, k.numbers, k.selection, k.identityHeaders, k.policy, k.decisionLog, k.revocation,
		k.readings, k.tenants, k.anyTenantID, k.hosts, k.routes,
	} {
		check()
	}
}

// fail reports a problem, unless it follows from one that is reported already.
func (k *checker) fail(field, format string, args ...any) {
	if !k.follows(field) {
		k.report(field, fmt.Sprintf(format, args...))
	}
}

func (k *checker) report(field, problem string) {
	line, name := k.place(field)
	k.d.add(FieldError{File: k.d.file, Line: line, Field: name, Problem: oneLine(problem)})
}

func (k *checker) warn(field, format string, args ...any) {
	if k.follows(field) || len(k.c.Warnings) >= maxErrors {
		return
	}
	line, name := k.place(field)
	k.c.Warnings = append(k.c.Warnings, FieldError{File: k.d.file, Line: line, Field: name, Problem: oneLine(fmt.Sprintf(format, args...))})
}

// follows reports whether the value of field, what it stands in or a part of
// it could not be read.
func (k *checker) follows(field string) bool {
	if k.d.failed[field] || k.d.under[field] {
		return true
	}
	for i := range len(field) {
		if (field[i] == '.' || field[i] == '[') && k.d.failed[field[:i]] {
			return true
		}
	}
	return false
}

func (k *checker) log() {
	k.oneOf("log.level", k.c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", k.c.Log.Format, "json", "text")
}

func (k *checker) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		k.fail(field, "is %s: write one of %s", quoteShort(value), strings.Join(allowed, ", "))
	}
}

func (k *checker) numbers() {
	const maxCache = 256 * GiB
	c := k.c
	if n := c.Limits.MaxInFlight; n < 1 || n > 1_000_000 {
		k.fail("limits.max_in_flight", "is %d: write a number from 1 to 1000000", n)
	}
	if n := c.Limits.MaxRequestBytes; n < 64*KiB || n > 64*MiB {
		k.fail("limits.max_request_bytes", "is %v: write a size from 64KiB to 64MiB", n)
	}
	if n, least := c.Limits.MaxInFlightBytes, c.Limits.MaxRequestBytes; n < least || n > maxCache {
		k.fail("limits.max_in_flight_bytes", "is %v: write a size from %v, which is max_request_bytes, to %v", n, least, maxCache)
	}
	if n := c.Limits.MaxQueryNames; n < 1 || n > 100_000 {
		k.fail("limits.max_query_names", "is %d: write a number from 1 to 100000", n)
	}
	if n := c.Limits.MaxObjectNames; n < 1 || n > 1_000_000 {
		k.fail("limits.max_object_names", "is %d: write a number from 1 to 1000000", n)
	}
	if n := c.Admin.MaxSeries; n < 1 || n > 1_000_000 {
		k.fail("admin.max_series", "is %d: write a number from 1 to 1000000", n)
	}
	k.cache("caches.tokens", c.Caches.Tokens, maxCache)
	k.cache("caches.decisions", c.Caches.Decisions, maxCache)
	k.between("shutdown.drain", c.Shutdown.Drain, 0, time.Hour)
	k.between("shutdown.grace", c.Shutdown.Grace, 0, time.Hour)
	k.between("policy.timeout", c.Policy.Timeout, time.Millisecond, 5*time.Second)
}

func (k *checker) cache(field string, size, most Size) {
	if size != 0 && (size < MiB || size > most) {
		k.fail(field, "is %v: write 0, which switches the cache off, or a size from 1MiB to %v", size, most)
	}
}

func (k *checker) between(field string, d, least, most time.Duration) {
	if d < least || d > most {
		k.fail(field, "is %v: write a duration from %v to %v", d, least, most)
	}
}

func (k *checker) selection() {
	s := k.c.TenantSelection
	if s.Header != "" {
		if problem := headerProblem(strings.ToLower(s.Header)); problem != "" {
			k.fail("tenant_selection.header", "%s", problem)
		} else if id := k.credentialHeaders()[strings.ToLower(s.Header)]; id != "" {
			k.fail("tenant_selection.header", "is the header that carries the tokens of tenant %q: write another one", id)
		}
	}
	if len(s.ContextExtension) > 256 || strings.ContainsFunc(s.ContextExtension, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		k.fail("tenant_selection.context_extension", "is no usable key: write up to 256 characters without blanks, like tenant")
	}
	known := func(b block) bool { return b.ID == s.Default }
	if s.Default != "" && !slices.ContainsFunc(k.blocks, known) {
		ids := make([]string, len(k.blocks))
		for i := range k.blocks {
			ids[i] = k.blocks[i].ID
		}
		k.fail("tenant_selection.default", "names the tenant %s, which does not exist: write one of %s", quoteShort(s.Default), oneLine(list(ids, 5)))
	}
}

// credentialHeaders maps each header that carries tokens to one of its tenants.
func (k *checker) credentialHeaders() map[string]string {
	names := map[string]string{}
	for i := range k.blocks {
		b := &k.blocks[i]
		if name := strings.ToLower(b.Header.Header); name != "" && names[name] == "" {
			names[name] = b.ID
		}
	}
	return names
}

// tenants runs every tenant's own checks.
func (k *checker) tenants() {
	if len(k.blocks) == 0 {
		k.fail("tenants", `there is none: write at least one, with its id as the key`)
	}
	for i := range k.blocks {
		b := &k.blocks[i]
		for _, f := range b.Config.Check(k.c.Dir) {
			k.failTenant(b, f.Field, f.Problem)
		}
		k.tenantWarnings(b)
	}
}

// tenantField returns the whole path of a field of b: where it was written,
// which may be the defaults.
func (k *checker) tenantField(b *block, field string) (whole string, shared bool) {
	top, s := topKey(field), k.d.shape(configType)
	if number, ok := s.number[top]; ok && b.inherited.has(number) {
		return "defaults." + field, true
	}
	whole = "tenants." + keyText(b.ID)
	if field != "" {
		whole += "." + field
	}
	return whole, false
}

func (k *checker) failTenant(b *block, field, problem string) {
	for _, cause := range causes(topKey(field)) {
		if whole, _ := k.tenantField(b, cause); k.d.failed[whole] || k.d.under[whole] {
			return
		}
	}
	whole, shared := k.tenantField(b, field)
	if field == "" && !k.d.failed[whole] {
		k.report(whole, problem) // of the block as a whole: no other fault is its cause
	} else if !shared {
		k.fail(whole, "%s", problem)
	} else if id := whole + "\x00" + problem; !k.reported[id] {
		k.reported[id] = true
		k.fail(whole, "%s", problem)
	}
}

func (k *checker) warnTenant(b *block, field, problem string) {
	whole, shared := k.tenantField(b, field)
	if shared && k.reported[whole] {
		return
	}
	k.reported[whole] = k.reported[whole] || shared
	k.warn(whole, "%s", problem)
}

// causes are the other fields whose faults make a field look wrong.
func causes(top string) []string {
	switch top {
	case "audience":
		return []string{"verify_aud"}
	case "issuer":
		return []string{"verify_iss"}
	case "algorithms":
		return append(keySource(), "algorithms")
	case "":
		return keySource()
	}
	if slices.Contains(keySource(), top) {
		return append(keySource(), "allow_http", "algorithms")
	}
	return nil
}

// topKey returns the key of a tenant's block that field begins with.
func topKey(field string) string {
	if i := strings.IndexAny(field, ".["); i >= 0 {
		return field[:i]
	}
	return field
}

// hosts finds hosts that two tenants claim.
func (k *checker) hosts() {
	owners := map[string]*block{}
	for i := range k.blocks {
		b := &k.blocks[i]
		for n, pattern := range b.Hosts {
			rest, wild := strings.CutPrefix(pattern, "*.")
			host, err := tenants.ParseHost(rest)
			if err != nil {
				continue // a fault of the tenant's own checks
			}
			if wild {
				host = "*." + host
			}
			field := fmt.Sprintf("hosts[%d]", n)
			switch owner := owners[host]; owner {
			case nil:
				owners[host] = b
			case b: // a fault of the tenant's own checks
			default:
				k.failTenant(b, field, fmt.Sprintf("%q belongs to tenant %q already: a host selects one tenant", host, owner.ID))
			}
		}
	}
}

// readings checks the names of the common readings.
func (k *checker) readings() {
	var faults []tenants.Fault
	k.common, faults = tenants.ParseReadings(k.c.PathReadings)
	for _, f := range faults {
		k.fail("path_readings"+f.Field, "%s", f.Problem)
	}
}

// routes checks the common routes, and that no tenant is left without any.
func (k *checker) routes() {
	if len(k.c.Routes) > 0 {
		routes, faults := tenants.NewRoutes(k.c.Routes)
		for _, f := range faults {
			k.fail("routes"+f.Field, "%s", f.Problem)
		}
		for i, why := range unreachableRoutes(routes, k.common) {
			k.warn(fmt.Sprintf("routes[%d].match", i), "%s", why)
		}
		shared := func(b block) bool { return len(b.Routes) == 0 }
		if len(k.blocks) > 0 && !slices.ContainsFunc(k.blocks, shared) {
			k.warn("routes", "no request reaches these: every tenant has routes of its own, which stand instead of the common ones")
		}
		return
	}
	var without []string
	for i := range k.blocks {
		if whole, _ := k.tenantField(&k.blocks[i], "routes"); len(k.blocks[i].Routes) == 0 && !k.follows(whole) {
			without = append(without, k.blocks[i].ID)
		}
	}
	if len(without) > 0 {
		k.warn("routes", `there are none for %s: unless the policy decides otherwise, every request is refused with no_route; "- match: /" is every method and path`, list(without, 3))
	}
}

// unreachableRoutes returns the routes that no request reaches, by index, and why.
func unreachableRoutes(routes *tenants.Routes, readings tenants.Readings) map[int]string {
	if routes == nil { // it has faults
		return nil
	}
	list := map[int]string{}
	for _, u := range routes.WithReadings(readings).Unreachable() {
		list[u.Index] = "no request reaches this: more specific routes take all that it matches"
		if u.By != nil {
			list[u.Index] = "no request reaches this: " + misreadRoutes(u.By)
		}
	}
	return list
}

func misreadRoutes(by *tenants.Misreading) string {
	to := "nowhere"
	if by.Route != nil {
		to = by.Route.Match
	}
	return fmt.Sprintf("a server that %s would route it to %s, which needs something else; give both the same requirements, or remove from path_readings what no server behind does", by.Readings, to)
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// identityHeaders checks the names and puts them in lower case.
func (k *checker) identityHeaders() {
	h := &k.c.IdentityHeaders
	owners, carriers := map[string]string{}, k.credentialHeaders()
	check := func(field, name string) string {
		name = strings.ToLower(name)
		if name == "" {
			return name // switched off
		}
		// Servers behind us fold "_" into "-": x_user_id would be x-user-id there.
		folded := strings.ReplaceAll(name, "_", "-")
		if problem := headerProblem(name); problem != "" {
			k.fail(field, "%s", problem)
		} else if id := carriers[name]; id != "" {
			k.fail(field, "%q carries the tokens of tenant %q: write another header", name, id)
		} else if other := owners[folded]; other != "" {
			k.fail(field, "%q is the header of %s too ('_' counts as '-'): write another one", name, other)
		}
		owners[folded] = field
		return name
	}
	h.UserID = check("identity_headers.user_id", h.UserID)
	h.TenantID = check("identity_headers.tenant_id", h.TenantID)
	h.WorkspaceID = check("identity_headers.workspace_id", h.WorkspaceID)
	h.Roles = check("identity_headers.roles", h.Roles)
	h.Scopes = check("identity_headers.scopes", h.Scopes)
	claims := make(map[string]string, len(h.Claims))
	for _, name := range slices.Sorted(maps.Keys(h.Claims)) {
		field := "identity_headers.claims." + keyText(name)
		switch {
		case name == "":
			k.fail("identity_headers.claims", "has an empty header name: write header: claim")
		case h.Claims[name] == "":
			k.fail(field, "names no claim: write the claim's name, or remove the header")
		}
		claims[check(field, name)] = h.Claims[name]
	}
	if h.Claims != nil {
		h.Claims = claims
	}
}
