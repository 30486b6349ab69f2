package devissuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Issuer publishes the keys of several tenants at the URLs at which the
// configuration looks for them, and mints tokens beside them.
type Issuer struct {
	sites []*site
}

// site is a base URL: one tenant's, or that of tenants which share their keys.
type site struct {
	host    string // host:port
	base    string // the path before /.well-known/…
	jwks    string // the path of the key set
	oidc    string // the path of the discovery document
	tenants []*Tenant
}

// Site is a base URL that an Issuer serves.
type Site struct {
	Address string // host:port
	JWKS    string // the URL of the key set
	Token   string // the URL to POST claims to
	Tenants []string
}

const (
	jwksName = "/.well-known/jwks.json"
	oidcName = "/.well-known/openid-configuration"
	maxBody  = 64 << 10
)

// NewIssuer returns the issuer of those tenants that look for their keys on an
// http:// URL: on loopback hosts alone, or with anyHost on all. It opens no
// socket.
func NewIssuer(list []tenants.Config, keys *Keys, anyHost bool) (*Issuer, error) {
	i := &Issuer{}
	for _, cfg := range list {
		raw := cfg.JWKSURL
		if raw == "" {
			raw = cfg.DiscoveryURL
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" || !anyHost && !jwks.IsLoopbackHost(u.Hostname()) {
			continue
		}
		t, err := NewTenant(cfg, keys, nil)
		if err != nil {
			return nil, err
		}
		i.add(newSite(u, cfg.JWKSURL != ""), t)
	}
	if len(i.sites) == 0 {
		return nil, errors.New("there is nothing to serve: no tenant has a jwks_url or discovery_url like http://127.0.0.1:8000/…")
	}
	return i, nil
}

func newSite(u *url.URL, isJWKS bool) *site {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	s := &site{host: net.JoinHostPort(strings.ToLower(u.Hostname()), port)}
	at, name := u.Path, jwksName
	if !isJWKS {
		name = oidcName
	}
	base, found := strings.CutSuffix(at, name)
	if !found { // a URL of another style: the rest goes beside it
		base = strings.TrimSuffix(path.Dir("/"+strings.TrimPrefix(at, "/")), "/")
	}
	s.base, s.jwks, s.oidc = base, base+jwksName, base+oidcName
	if isJWKS {
		s.jwks = at
	} else {
		s.oidc = at
	}
	return s
}

func (i *Issuer) add(s *site, t *Tenant) {
	for _, known := range i.sites {
		if known.host == s.host && known.jwks == s.jwks && known.oidc == s.oidc {
			known.tenants = append(known.tenants, t)
			return
		}
	}
	s.tenants = []*Tenant{t}
	i.sites = append(i.sites, s)
}

// Addresses returns the host:port of each listener that the URLs need.
func (i *Issuer) Addresses() []string {
	var list []string
	for _, s := range i.sites {
		if !slices.Contains(list, s.host) {
			list = append(list, s.host)
		}
	}
	return list
}

// Sites returns what is served, in the order of the tenants.
func (i *Issuer) Sites() []Site {
	list := make([]Site, 0, len(i.sites))
	for _, s := range i.sites {
		list = append(list, Site{Address: s.host, JWKS: "http://" + s.host + s.jwks, Token: "http://" + s.host + s.base + "/token", Tenants: s.ids()})
	}
	return list
}

func (s *site) ids() []string {
	ids := make([]string, 0, len(s.tenants))
	for _, t := range s.tenants {
		ids = append(ids, t.ID())
	}
	return ids
}

// ServeHTTP answers for every site, on whatever address it is reached: the
// path decides, and the Host header where two sites have the same one.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var found []*site
	for _, s := range i.sites {
		if r.URL.Path == s.jwks || r.URL.Path == s.oidc || r.URL.Path == s.base+"/token" {
			found = append(found, s)
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(s *site) bool { return !strings.EqualFold(s.host, r.Host) })
	}
	if len(found) == 0 {
		http.NotFound(w, r)
		return
	}
	s := found[0]
	switch {
	case r.URL.Path == s.base+"/token":
		s.serveToken(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
	case r.URL.Path == s.jwks:
		s.serveKeys(w)
	default:
		s.serveDiscovery(w)
	}
}

func (s *site) serveKeys(w http.ResponseWriter) {
	all := []json.RawMessage{}
	for _, t := range s.tenants {
		keys, err := t.keySet()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		all = append(all, keys...)
	}
	writeJSON(w, map[string]any{"keys": all})
}

func (s *site) serveDiscovery(w http.ResponseWriter) {
	issuer := "http://" + s.host + s.base
	if list := s.tenants[0].cfg.Issuer; len(list) > 0 {
		issuer = list[0]
	}
	writeJSON(w, map[string]any{"issuer": issuer, "jwks_uri": "http://" + s.host + s.jwks})
}

// serveToken signs the claims of the body. What it lacks of issuer, audience,
// times and tenant is added; a claim that is null is left out.
func (s *site) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "POST the claims as a JSON object", http.StatusMethodNotAllowed)
		return
	}
	// A page in the developer's browser can POST anywhere, but not with this
	// type unless it is asked for first (CORS), and we never agree.
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/json" {
		http.Error(w, "Content-Type: application/json is needed", http.StatusUnsupportedMediaType)
		return
	}
	t, err := s.tenant(r.URL.Query().Get("tenant"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil || claims == nil {
		http.Error(w, "the body is no JSON object with claims", http.StatusBadRequest)
		return
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		http.Error(w, "the body is more than one JSON object", http.StatusBadRequest)
		return
	}
	t.complete(claims)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil }) // null: without it
	token, err := t.Mint(claims, jwtverify.Algorithm(r.URL.Query().Get("alg")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"access_token": token, "token_type": "Bearer"})
}

// tenant returns the named tenant of a site, or its only one.
func (s *site) tenant(id string) (*Tenant, error) {
	if id == "" && len(s.tenants) == 1 {
		return s.tenants[0], nil
	}
	for _, t := range s.tenants {
		if t.ID() == id {
			return t, nil
		}
	}
	return nil, fmt.Errorf("add ?tenant= with one of %s", strings.Join(s.ids(), ", "))
}

func writeJSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "the answer can't be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that left is no fault
}
