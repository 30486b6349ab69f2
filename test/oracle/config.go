package oracle

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// file is the configuration file, as far as it decides about requests.
type file struct {
	TenantSelection struct {
		Header           string `yaml:"header"`
		ContextExtension string `yaml:"context_extension"`
		Default          string `yaml:"default"`
	} `yaml:"tenant_selection"`
	IdentityHeaders struct {
		UserID      string            `yaml:"user_id"`
		TenantID    string            `yaml:"tenant_id"`
		WorkspaceID string            `yaml:"workspace_id"`
		Roles       string            `yaml:"roles"`
		Scopes      string            `yaml:"scopes"`
		Claims      map[string]string `yaml:"claims"`
	} `yaml:"identity_headers"`
	ForwardToken bool     `yaml:"forward_token"`
	PathReadings readings `yaml:"path_readings"`
	Policy       struct {
		Entrypoint string `yaml:"entrypoint"`
	} `yaml:"policy"`
	Revocation struct {
		File          string `yaml:"file"`
		OnUnavailable string `yaml:"on_unavailable"`
	} `yaml:"revocation"`
	Defaults map[string]any            `yaml:"defaults"`
	Tenants  map[string]map[string]any `yaml:"tenants"`
	Routes   []*Route                  `yaml:"routes"`
}

// tenant is a tenant's block.
type tenant struct {
	id string

	Hosts        []string `yaml:"hosts"`
	Key          string   `yaml:"key"`
	Type         string   `yaml:"type"`
	JWKSFile     string   `yaml:"jwks_file"`
	JWKSURL      string   `yaml:"jwks_url"`
	DiscoveryURL string   `yaml:"discovery_url"`
	Issuer       list     `yaml:"issuer"`
	Audience     list     `yaml:"audience"`
	Algorithms   []string `yaml:"algorithms"`
	Header       struct {
		Type   string  `yaml:"type"`
		Prefix *string `yaml:"prefix"`
		Cookie string  `yaml:"cookie_name"`
	} `yaml:"header"`
	VerifyExp    bool              `yaml:"verify_exp"`
	VerifyNbf    bool              `yaml:"verify_nbf"`
	VerifyAud    bool              `yaml:"verify_aud"`
	VerifyIss    bool              `yaml:"verify_iss"`
	Leeway       time.Duration     `yaml:"leeway"`
	TokenTypes   list              `yaml:"token_types"`
	TenantIDs    list              `yaml:"tenant_ids"`
	Claims       map[string]string `yaml:"claims"`
	PathReadings *readings         `yaml:"path_readings"`
	Routes       []*Route          `yaml:"routes"`

	keys     []key
	mustName bool // the token must say whose it is: another tenant's look alike
	others   list // what the tokens of those others say
}

// Route is one entry of the routes.
type Route struct {
	Match     string   `yaml:"match"`
	Public    bool     `yaml:"public"`
	Scopes    []string `yaml:"scopes"`
	AnyScope  []string `yaml:"any_scope"`
	Roles     []string `yaml:"roles"`
	AllRoles  []string `yaml:"all_roles"`
	Workspace string   `yaml:"workspace"`
	Access    string   `yaml:"access"`
}

// list is one string or a list of strings.
type list []string

func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

// Oracle answers by one configuration.
type Oracle struct {
	file        file
	tenants     map[string]*tenant
	policy      Policy
	revocations []revocation
}

// New reads a configuration. files are those that it names, and policies the
// specifications of the entrypoints that are not the embedded policy's. now is
// when it was loaded: revocations that had expired long before are not there.
func New(config string, files map[string]string, policies map[string]Policy, now time.Time) (*Oracle, error) {
	o := &Oracle{tenants: map[string]*tenant{}, policy: Default}
	o.file.TenantSelection.Header, o.file.TenantSelection.ContextExtension = "X-Tenant-ID", "tenant"
	h := &o.file.IdentityHeaders
	h.UserID, h.TenantID, h.WorkspaceID, h.Roles, h.Scopes = "x-user-id", "x-tenant-id", "x-workspace-id", "x-roles", "x-scopes"
	o.file.ForwardToken, o.file.PathReadings = true, allReadings
	if err := yaml.Unmarshal([]byte(config), &o.file); err != nil {
		return nil, err
	}
	if entrypoint := o.file.Policy.Entrypoint; entrypoint != "" && entrypoint != "usso/authz/decision" {
		if o.policy = policies[entrypoint]; o.policy == nil {
			return nil, fmt.Errorf("nobody specified the policy %s", entrypoint)
		}
	}
	for id, block := range o.file.Tenants {
		t, err := o.newTenant(id, block, files)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", id, err)
		}
		o.tenants[id] = t
	}
	for _, t := range o.tenants {
		for _, u := range o.tenants {
			if t != u && t.mixedUpWith(u) {
				t.mustName = true
				if !slices.Equal(u.TenantIDs, list{"*"}) {
					t.others = append(t.others, u.TenantIDs...)
				}
			}
		}
	}
	if name := o.file.Revocation.File; name != "" {
		text, found := files[name]
		if !found {
			return nil, errors.New("the file of revocations is missing")
		}
		o.revocations = readRevocations(text, now)
	}
	return o, nil
}

// newTenant inherits whole keys from the defaults; a block with a source of
// keys of its own inherits neither a source nor the type of a key.
func (o *Oracle) newTenant(id string, block map[string]any, files map[string]string) (*tenant, error) {
	sources := []string{"key", "jwks_file", "jwks_url", "discovery_url"}
	own := slices.ContainsFunc(sources, func(s string) bool { return block[s] != nil })
	all := map[string]any{}
	for name, value := range o.file.Defaults {
		if !own || name != "type" && !slices.Contains(sources, name) {
			all[name] = value
		}
	}
	for name, value := range block {
		all[name] = value
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return nil, err
	}
	t := &tenant{id: id, VerifyExp: true, VerifyNbf: true, VerifyAud: true, VerifyIss: true, Leeway: 10 * time.Second, TokenTypes: list{"access"}, TenantIDs: list{id}}
	t.Header.Type, t.Header.Cookie = "Authorization", "access_token"
	if all["header"] != nil {
		t.Header.Type, t.Header.Cookie = "", ""
	}
	if err := yaml.Unmarshal(text, t); err != nil {
		return nil, err
	}
	if t.Routes == nil {
		t.Routes = o.file.Routes
	}
	if t.PathReadings == nil {
		t.PathReadings = &o.file.PathReadings
	}
	return t, t.readKeys(files)
}

// mixedUpWith: a token without tenant_id could be either's.
func (t *tenant) mixedUpWith(u *tenant) bool {
	common := func(a, b list) bool {
		return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
	}
	blind := func(t *tenant) bool { return !t.VerifyIss || len(t.Issuer) == 0 }
	sameKey := slices.ContainsFunc(t.keys, func(k key) bool { return slices.ContainsFunc(u.keys, k.sameAs) })
	return common(t.Issuer, u.Issuer) || sameKey && (blind(t) || blind(u))
}

// revocation is one line of the file.
type revocation struct {
	tenant, jti, session, sub string
	before                    time.Time
}

func readRevocations(text string, now time.Time) (all []revocation) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		value, _ := parseJSON(lines.Text(), 1)
		line, ok := value.(map[string]any)
		text := func(name string) string { s, _ := line[name].(string); return s }
		date := func(name string) time.Time { d, _ := time.Parse(time.RFC3339, text(name)); return d }
		r := revocation{text("tenant"), text("jti"), text("session_id"), text("sub"), date("before")}
		expires := date("expires")
		if expires.IsZero() {
			expires = r.before.AddDate(0, 0, 90)
		}
		if ok && !expires.Before(now.Add(-5*time.Minute)) {
			all = append(all, r)
		}
	}
	return all
}

// revoked is asked at each request. The issuer's clock may be ahead by the leeway.
func (o *Oracle) revoked(t *tenant, id *Identity) bool {
	return slices.ContainsFunc(o.revocations, func(r revocation) bool {
		issuedBefore := id.Issued == 0 || time.Unix(id.Issued, 0).Add(-t.Leeway).Before(r.before)
		switch {
		case r.tenant != t.id:
			return false
		case r.jti != "":
			return r.jti == id.ID
		case r.session != "":
			return r.session == id.SessionID
		case r.sub != "":
			return issuedBefore && (r.sub == id.UserID || r.sub == id.Subject)
		}
		return issuedBefore
	})
}
