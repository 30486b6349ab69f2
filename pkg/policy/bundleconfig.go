package policy

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
	"github.com/open-policy-agent/opa/v1/plugins"
	bundleplugin "github.com/open-policy-agent/opa/v1/plugins/bundle"
	"github.com/open-policy-agent/opa/v1/plugins/discovery"
	"github.com/open-policy-agent/opa/v1/plugins/rest"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// Fault is one thing wrong in a configuration. Field is the path of the key,
// like "services.cdn.url"; the text never holds a secret.
type Fault struct{ Field, Problem string }

// elsewhere are the sections of OPA's configuration that mean nothing here.
var elsewhere = map[string]string{
	"bundle":                         `is the old form: write a section of "bundles"`,
	"decision_logs":                  "is not supported here: write decision_log, at the top of the file",
	"status":                         "is not supported: /readyz?verbose tells how each bundle is doing",
	"plugins":                        "is not supported: no plugins are built in",
	"default_decision":               "is not supported here: write policy.entrypoint",
	"default_authorization_decision": "is not supported: there is no API to be authorized",
	"server":                         "is not supported: OPA's server does not run here",
	"storage":                        "is not supported: bundles are held in memory, and kept in persistence_directory",
	"caching":                        "is not supported",
	"nd_builtin_cache":               "is not supported",
	"distributed_tracing":            "is not supported here",
	"metrics_export":                 "is not supported here",
}

// bundleCheck gathers what is wrong in OPA's sections.
type bundleCheck struct {
	sections map[string]any
	keys     map[string]*keys.Config
	named    []string               // the services of the file, with faults or not
	services map[string]rest.Client // those without
	faults   []Fault
}

// CheckBundles finds what is wrong in OPA's sections without a look at the
// network: unknown keys, names that lead nowhere, keys that are none,
// credentials that can't be read. Relative file names begin in dir.
func CheckBundles(sections map[string]any, dir string) []Fault {
	c := &bundleCheck{sections: resolveFiles(sections, dir), keys: map[string]*keys.Config{}, services: map[string]rest.Client{}}
	if !c.unknown() {
		return c.sorted()
	}
	c.readKeys()
	c.readServices()
	c.readBundles()
	c.readDiscovery()
	if len(c.table("bundles")) == 0 && c.sections["discovery"] == nil {
		c.add("", `has neither "bundles" nor "discovery": write what to download`)
	}
	return c.sorted()
}

func (c *bundleCheck) add(field, format string, args ...any) {
	c.faults = append(c.faults, Fault{field, fmt.Sprintf(format, args...)})
}

func (c *bundleCheck) sorted() []Fault {
	slices.SortStableFunc(c.faults, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) })
	return c.faults
}

// unknown finds keys that OPA would read past, and sections of the wrong form.
// It reports whether the sections can be told apart: what follows from a
// misspelt one would be made up.
func (c *bundleCheck) unknown() (ok bool) {
	ok = true
	for name, value := range c.sections {
		switch problem := elsewhere[name]; {
		case problem != "":
			c.add(name, "%s", problem)
		case sectionTypes[name] == nil:
			c.add(name, "unknown key. Known here: %s", inOrder(maps.Keys(sectionTypes)))
			ok = false
		default:
			c.unknownIn(value, sectionTypes[name], name)
		}
	}
	for _, f := range c.faults {
		ok = ok && (strings.Contains(f.Field, ".") || elsewhere[f.Field] != "")
	}
	return ok
}

// misread reports whether a field has faults already: what else there is to say
// of it may follow from them.
func (c *bundleCheck) misread(field string) bool {
	return slices.ContainsFunc(c.faults, func(f Fault) bool { return f.Field == field || strings.HasPrefix(f.Field, field+".") })
}

// sectionTypes are the types that OPA reads the sections into.
var sectionTypes = map[string]reflect.Type{
	"services":              reflect.TypeFor[map[string]rest.Config](),
	"bundles":               reflect.TypeFor[map[string]bundleplugin.Source](),
	"keys":                  reflect.TypeFor[map[string]keys.Config](),
	"labels":                reflect.TypeFor[map[string]string](),
	"discovery":             reflect.TypeFor[discovery.Config](),
	"persistence_directory": reflect.TypeFor[string](),
}

// unknownIn goes only where there are values: some types hold themselves.
func (c *bundleCheck) unknownIn(value any, t reflect.Type, field string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	table, isTable := value.(map[string]any)
	items, isList := value.([]any)
	switch {
	case isTable && t.Kind() == reflect.Struct:
		known := jsonKeys(t)
		for key, below := range table {
			if known[key] == nil {
				c.add(field+"."+key, "unknown key. Known here: %s", inOrder(maps.Keys(known)))
				continue
			}
			c.unknownIn(below, known[key], field+"."+key)
		}
	case isTable && t.Kind() == reflect.Map:
		for key, below := range table {
			c.unknownIn(below, t.Elem(), field+"."+key)
		}
	case isList && (t.Kind() == reflect.Slice || field == "services"): // which OPA takes in both forms
		for i, below := range items {
			c.unknownIn(below, t.Elem(), field+"["+strconv.Itoa(i)+"]")
		}
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		c.add(field, "is no section of keys")
	case isTable || isList:
		c.add(field, "is no single value")
	}
}

// jsonKeys returns the keys that a struct is read from, those of embedded
// structs among them.
func jsonKeys(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			known[name] = f.Type
		}
	}
	return known
}

func inOrder(keys iter.Seq[string]) string { return strings.Join(slices.Sorted(keys), ", ") }

func (c *bundleCheck) table(name string) map[string]any {
	table, _ := c.sections[name].(map[string]any)
	return table
}

// decode reads a part into OPA's own type.
func (c *bundleCheck) decode(field string, part, into any) (raw []byte, ok bool) {
	raw, err := json.Marshal(part)
	if err == nil {
		err = util.Unmarshal(raw, into)
	}
	return raw, c.readable(field, err)
}

// readable reports whether a part could be read. A value of the wrong kind is
// named, never shown.
func (c *bundleCheck) readable(field string, err error) bool {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		at := field + "." + strings.TrimPrefix(kind.Field, "Config.") // an embedded type's name
		c.add(at, "is no %s", kindName(kind.Type.Kind().String()))
	case err != nil:
		c.add(field, "can't be read")
	}
	return err == nil
}

func kindName(kind string) string {
	switch kind {
	case "int64", "int":
		return "whole number"
	case "bool":
		return "boolean: write true or false"
	case "map", "struct", "ptr":
		return "section of keys"
	case "slice":
		return "list"
	}
	return kind
}

func (c *bundleCheck) readKeys() {
	for id, part := range c.table("keys") {
		field := "keys." + id
		if c.misread(field) {
			continue
		}
		raw, ok := c.decode(field, part, &keys.Config{})
		if !ok {
			continue
		}
		all, err := keys.ParseKeysConfig(json.RawMessage(fmt.Sprintf(`{%q: %s}`, id, raw)))
		if err != nil {
			c.add(field, "%s: write key (a public key in PEM, or a secret for HS256) and algorithm, one of ES256, ES384, ES512, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512", err)
			continue
		}
		for _, key := range all { // the one
			c.keys[id] = key
			if key.Key == "" {
				continue // a private key, for a service's credentials
			}
			if problem := keyProblem(key); problem != "" {
				c.add(field+".key", "%s", problem)
			}
		}
	}
}

// keyProblem says why a key can't verify signatures of its algorithm.
func keyProblem(k *keys.Config) string {
	if strings.HasPrefix(k.Algorithm, "HS") {
		if len(k.Key) < 32 {
			return "is shorter than 32 bytes: whoever guesses it can sign bundles"
		}
		return ""
	}
	block, _ := pem.Decode([]byte(k.Key))
	if block == nil {
		return "is no public key in PEM (it stands in the file itself, or comes from ${env:NAME})"
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = certificate.PublicKey
		}
	default:
		return fmt.Sprintf("is PEM of the type %q: write the public key, which is enough to verify", block.Type)
	}
	if err != nil {
		return "is PEM, but holds no public key"
	}
	fits := false
	switch public := public.(type) {
	case *rsa.PublicKey:
		fits = strings.HasPrefix(k.Algorithm, "RS") || strings.HasPrefix(k.Algorithm, "PS")
	case *ecdsa.PublicKey:
		fits = map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[k.Algorithm] == public.Curve.Params().BitSize
	}
	if !fits {
		return fmt.Sprintf("is a %T, which does not sign with %s", public, k.Algorithm)
	}
	return ""
}

// readServices makes each client once, so that its files are read.
func (c *bundleCheck) readServices() {
	parts, fields := map[string]any{}, map[string]string{}
	switch services := c.sections["services"].(type) {
	case map[string]any:
		for name, part := range services {
			parts[name], fields[name] = part, "services."+name
		}
	case []any: // OPA's other form
		for i, part := range services {
			table, _ := part.(map[string]any)
			name, _ := table["name"].(string)
			field := fmt.Sprintf("services[%d]", i)
			if name == "" || parts[name] != nil {
				c.add(field, "has no name of its own")
				continue
			}
			parts[name], fields[name] = part, field
		}
	}
	c.named = slices.Sorted(maps.Keys(parts))
	for name, part := range parts {
		if !c.misread(fields[name]) {
			c.readService(name, fields[name], part)
		}
	}
}

func (c *bundleCheck) readService(name, field string, part any) {
	c.files(field, part)
	var client rest.Client
	raw, err := json.Marshal(part)
	if err == nil {
		client, err = rest.New(raw, c.keys, rest.Name(name), rest.Logger(newOPALog(slog.New(slog.DiscardHandler))))
	}
	if !c.readable(field, err) {
		return
	}
	c.services[name] = client
	cfg := client.Config()
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.add(field+".url", "is no URL that begins with https:// or http://")
	case u.User != nil:
		c.add(field+".url", "holds a password: write it under credentials")
	}
	if kind := strings.ToLower(cfg.Type); kind != "" && kind != "oci" {
		c.add(field+".type", `is %q: write oci, or remove it`, cfg.Type)
	}
	if cfg.Credentials.Plugin != nil {
		c.add(field+".credentials.plugin", "is not supported: no plugins are built in")
		return
	}
	plugin, err := cfg.AuthPlugin(func(string) rest.HTTPAuthPlugin { return nil })
	if err == nil {
		_, err = plugin.NewClient(*cfg)
	}
	if err != nil {
		c.add(field+".credentials", "%s", safeText(err))
	}
}

// files finds those that can't be read: OPA opens some of them only when it
// connects.
func (c *bundleCheck) files(field string, part any) {
	table, _ := part.(map[string]any)
	for key, value := range table {
		name, isText := value.(string)
		if !isText || !slices.Contains(fileKeys, key) {
			c.files(field+"."+key, value)
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			c.add(field+"."+key, "%s", err)
			continue
		}
		_ = f.Close() // nothing was written
	}
}

func (c *bundleCheck) readBundles() {
	for name, part := range c.table("bundles") {
		field := "bundles." + name
		if c.misread(field) {
			continue
		}
		var source bundleplugin.Source
		if _, ok := c.decode(field, part, &source); !ok {
			continue
		}
		c.service(field, source.Service)
		c.signing(field, source.Signing)
		c.persist(field, source.Persist)
		c.pulled(field, source.Service)
		if problem := sourceProblem(name, &source); problem != "" {
			c.add(field, "%s", problem)
		}
		if err := source.ValidateAndInjectDefaults(); err != nil { // the delays
			c.add(field, "%s", err)
		}
	}
}

func bundleNameProblem(name string) string {
	if name == discovery.Name || name == "" || name == "." || name == ".." || len(name) > 128 {
		return "is no name for a bundle"
	}
	return ""
}

// sourceProblem says why a bundle can't be had from where it is said to be.
func sourceProblem(name string, source *bundleplugin.Source) string {
	switch {
	case bundleNameProblem(name) != "":
		return bundleNameProblem(name)
	case strings.HasPrefix(source.Resource, "file://"):
		return "resource is a file: write the folder of its Rego into policy.paths, which is watched"
	case source.Trigger != nil && *source.Trigger != plugins.TriggerPeriodic:
		return "trigger is not periodic: nothing else begins a download here"
	}
	return ""
}

func (c *bundleCheck) service(field, name string) {
	switch {
	case name == "" && len(c.named) != 1:
		c.add(field+".service", "is missing, and there is not exactly one service")
	case name != "" && !slices.Contains(c.named, name):
		c.add(field+".service", "names the service %q, which does not exist: write one of %s", name, strings.Join(c.named, ", "))
	}
}

func (c *bundleCheck) signing(field string, v *bundle.VerificationConfig) {
	if v == nil {
		return
	}
	key := c.keys[v.KeyID]
	switch {
	case v.KeyID != "" && c.table("keys")[v.KeyID] == nil:
		c.add(field+".signing.keyid", "names the key %q, which is not in keys", v.KeyID)
	case len(c.table("keys")) == 0:
		c.add(field+".signing", "asks for a signature, but there are no keys to verify one")
	case key == nil: // any of keys, or one that has a fault
	case key.Key == "":
		c.add(field+".signing.keyid", "names the key %q, which has a private_key alone: write its public half as key", v.KeyID)
	case v.Scope != "" && key.Scope != "" && v.Scope != key.Scope:
		c.add(field+".signing.scope", "is %q, but the key %q is for the scope %q: write one of them", v.Scope, v.KeyID, key.Scope)
	}
}

func (c *bundleCheck) persist(field string, wanted bool) {
	if folder, _ := c.sections["persistence_directory"].(string); wanted && folder == "" {
		c.add(field+".persist", "needs persistence_directory: the folder to keep the bundle in")
	}
}

// pulled: OPA's OCI downloader keeps what it pulls in a folder, and panics where
// it can't make one.
func (c *bundleCheck) pulled(field, name string) {
	if name == "" && len(c.named) == 1 {
		name = c.named[0]
	}
	service, ok := c.services[name]
	if folder, _ := c.sections["persistence_directory"].(string); ok && strings.EqualFold(service.Config().Type, "oci") && folder == "" {
		c.add(field+".service", "is a registry: write persistence_directory, the folder to pull into")
	}
}

func (c *bundleCheck) readDiscovery() {
	part := c.sections["discovery"]
	if part == nil || c.misread("discovery") {
		return
	}
	var d discovery.Config
	if _, ok := c.decode("discovery", part, &d); !ok {
		return
	}
	c.service("discovery", d.Service)
	c.signing("discovery", d.Signing)
	c.persist("discovery", d.Persist)
	c.pulled("discovery", d.Service)
	if d.Resource == nil && d.Name == nil {
		c.add("discovery.resource", "is missing: the path of the bundle that holds the configuration")
	}
	if err := d.ValidateAndInjectDefaults(); err != nil {
		c.add("discovery", "%s", err)
	}
}

// WarnBundles tells what is allowed, but rarely meant: bundles that somebody on
// the way or at the server could replace.
func WarnBundles(sections map[string]any) (warnings []Fault) {
	c := &bundleCheck{sections: sections}
	for _, name := range slices.Sorted(maps.Keys(c.table("bundles"))) {
		part, _ := c.table("bundles")[name].(map[string]any)
		warnings = append(warnings, c.unsigned("bundles."+name, part)...)
	}
	if part, ok := c.sections["discovery"].(map[string]any); ok {
		warnings = append(warnings, c.unsigned("discovery", part)...)
	}
	return warnings
}

func (c *bundleCheck) unsigned(field string, part map[string]any) (warnings []Fault) {
	if signing, ok := part["signing"].(map[string]any); ok {
		if excluded, _ := signing["exclude_files"].([]any); len(excluded) > 0 {
			warnings = append(warnings, Fault{field + ".signing.exclude_files", "files that match are taken without a check: who can write at the server can change them"})
		}
		return warnings
	}
	told := Fault{field, `has no "signing": who can write at the server decides what is allowed`}
	if len(c.table("keys")) > 0 {
		told.Problem = `has no "signing": a bundle without a signature is accepted, though there are keys`
	}
	warnings = append(warnings, told)
	service, _ := part["service"].(string)
	for name, s := range c.table("services") {
		table, _ := s.(map[string]any)
		address, _ := table["url"].(string)
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" || jwks.IsLoopbackHost(u.Hostname()) || service != "" && service != name {
			continue
		}
		return append(warnings, Fault{field, "is fetched without TLS and without a signature: who sits on the way decides what is allowed"})
	}
	return warnings
}

// fileKeys are the keys whose values name files.
var fileKeys = []string{"persistence_directory", "ca_cert", "token_path", "cert", "private_key"}

// resolveFiles returns a copy of the sections in which file names begin in dir,
// as everywhere in the configuration. The private key under "keys" is none.
func resolveFiles(sections map[string]any, dir string) map[string]any {
	copied := make(map[string]any, len(sections))
	for key, value := range sections {
		switch value := value.(type) {
		case map[string]any:
			if key == "keys" || key == "labels" || key == "headers" {
				copied[key] = value
				continue
			}
			copied[key] = resolveFiles(value, dir)
		case []any:
			list := slices.Clone(value)
			for i := range list {
				if table, ok := list[i].(map[string]any); ok {
					list[i] = resolveFiles(table, dir)
				}
			}
			copied[key] = list
		case string:
			if slices.Contains(fileKeys, key) && value != "" && !filepath.IsAbs(value) {
				value = filepath.Join(dir, value)
			}
			copied[key] = value
		default:
			copied[key] = value
		}
	}
	return copied
}
