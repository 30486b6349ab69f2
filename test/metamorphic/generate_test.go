package metamorphic

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// generator makes scenarios; equal seeds make equal ones, but for the bytes of
// keys and signatures.
type generator struct {
	*rand.Rand
	signers []*signer
	now     time.Time
}

func newGenerator(seed uint64, keys []*signer, now time.Time) *generator {
	return &generator{rand.New(rand.NewPCG(seed, 0)), keys, now}
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// some returns up to most of a list, in its order, each once.
func some[T any](g *generator, most int, list ...T) (chosen []T) {
	left := g.IntN(most + 1)
	for i, v := range list {
		if left > 0 && g.IntN(len(list)-i) < left {
			chosen, left = append(chosen, v), left-1
		}
	}
	return chosen
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// world is what the requests to one configuration are made from.
type world struct {
	config  map[string]any
	files   map[string]string
	tenants []*tenant
	policy  string
	header  string // that selects
}

type tenant struct {
	id, typ, prefix, cookie     string
	hosts, issuers, audiences   []string
	tokenTypes, tenantIDs, algs []string
	claims                      map[string]string
	signers                     []*signer
	leeway                      time.Duration
	routes                      []map[string]any
}

// world makes a configuration that is usually valid.
func (g *generator) world(policies []string) *world {
	w := &world{config: map[string]any{}, files: map[string]string{}, policy: pick(g, policies...)}
	blocks := map[string]any{}
	common := g.routes()
	hosts := []string{"acme.example", "*.acme.example", "globex.example", "a.b.example", "*.b.example", "[2001:db8::1]", "10.0.0.7", "localhost"}
	g.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	for i, id := range []string{"acme", "globex", "initech", "t_4-x"}[:1+g.IntN(4)] {
		t := g.tenant(id)
		t.hosts = hosts[2*i : 2*i+g.IntN(3)]
		w.tenants = append(w.tenants, t)
		block := g.block(w, t)
		if g.chance(25) {
			t.routes = g.routes()
			block["routes"] = t.routes
		} else {
			t.routes = common
		}
		blocks[id] = block
	}
	w.config["tenants"], w.config["routes"] = blocks, common
	g.selection(w)
	g.identityHeaders(w)
	if g.chance(30) {
		w.config["forward_token"] = false
	}
	if g.chance(40) {
		w.config["path_readings"] = some(g, 5, "slash", "parameters", "case", "extension", "trailing")
	}
	if w.policy != "" {
		w.config["policy"] = map[string]any{"entrypoint": w.policy, "paths": []string{policiesFile}}
	}
	g.revocations(w)
	return w
}

func (g *generator) tenant(id string) *tenant {
	t := &tenant{
		id: id, typ: "Authorization", prefix: "Bearer", cookie: "access_token", leeway: 10 * time.Second,
		issuers:   []string{"https://sso." + pick(g, id, id, id, "shared") + ".example"},
		audiences: []string{"app"}, tokenTypes: []string{"access"}, tenantIDs: []string{id}, claims: map[string]string{},
		signers: []*signer{pick(g, g.signers...)},
	}
	return t
}

// block writes a tenant's part of the file, and keeps in t what its tokens need.
func (g *generator) block(w *world, t *tenant) map[string]any {
	b := map[string]any{"hosts": t.hosts}
	if g.chance(25) {
		t.issuers = append(t.issuers, "https://old.example")
	}
	if g.chance(25) {
		t.audiences = append(t.audiences, "other")
	}
	b["issuer"], b["audience"] = t.issuers, t.audiences
	g.keys(w, t, b)
	for _, check := range []string{"verify_exp", "verify_nbf", "verify_aud", "verify_iss"} {
		if g.chance(8) {
			b[check] = false
		}
	}
	if g.chance(30) {
		t.leeway = pick(g, 0, time.Second, 5*time.Minute)
		b["leeway"] = t.leeway.String()
	}
	if g.chance(20) {
		t.tokenTypes = pick(g, []string{"access", "temporary"}, []string{"secure"})
		b["token_types"] = t.tokenTypes
	}
	if g.chance(25) {
		t.tenantIDs = pick(g, []string{"*"}, []string{t.id, "t_9"}, []string{"org-1"})
		b["tenant_ids"] = t.tenantIDs
	}
	if g.chance(25) {
		t.claims = pick(g,
			map[string]string{"roles": "/realm_access/roles", "scopes": "scope"},
			map[string]string{"user_id": "uid", "workspace_id": "/org/1/id", "tenant_id": "/a~1b"},
			map[string]string{"sub": "oid", "token_type": "/t/~0x"})
		b["claims"] = t.claims
	}
	if g.chance(30) {
		t.typ, t.prefix, t.cookie = pick(g, "X-Token", "Authorization", ""), pick(g, "", "Token", "Bearer"), pick(g, "", "sid", "access_token")
		if t.typ == "" {
			t.cookie = "sid"
		}
		b["header"] = map[string]any{"type": t.typ, "prefix": t.prefix, "cookie_name": t.cookie}
	}
	if g.chance(15) {
		b["path_readings"] = some(g, 5, "slash", "parameters", "case", "extension", "trailing")
	}
	return b
}

// keys gives the tenant a key, or a file of several.
func (g *generator) keys(w *world, t *tenant, b map[string]any) {
	public := slices.DeleteFunc(slices.Clone(g.signers), func(s *signer) bool { return s.private == nil })
	if g.chance(30) {
		if t.signers = some(g, 3, public...); len(t.signers) == 0 {
			t.signers = public[:2]
		}
		var list []map[string]any
		for _, s := range t.signers {
			list = append(list, s.jwk())
		}
		text, err := json.Marshal(map[string]any{"keys": list})
		if err != nil {
			panic(err)
		}
		name := "keys-" + t.id + ".json"
		b["jwks_file"], w.files[name] = name, string(text)
		return
	}
	s := t.signers[0]
	b["key"], b["type"] = s.pem(), s.alg
	if s.alg == "RS256" && g.chance(50) {
		b["type"] = "RS512"
		t.algs = []string{"RS512"}
	}
	if g.chance(25) && s.private != nil {
		jwk, err := json.Marshal(s.jwk())
		if err != nil {
			panic(err)
		}
		b["key"] = string(jwk)
	}
	if g.chance(20) && s.private != nil {
		b["algorithms"] = append(some(g, 2, "EdDSA", "ES256", "RS512"), b["type"].(string))
	}
}

func (g *generator) selection(w *world) {
	w.header = "X-Tenant-ID"
	sel := map[string]any{}
	if g.chance(15) {
		w.header = pick(g, "", "X-Org")
		sel["header"] = w.header
	}
	if g.chance(10) {
		sel["context_extension"] = pick(g, "", "org")
	}
	if g.chance(25) && len(w.tenants) > 0 {
		sel["default"] = w.tenants[0].id
	}
	if len(sel) > 0 {
		w.config["tenant_selection"] = sel
	}
}

func (g *generator) identityHeaders(w *world) {
	if !g.chance(40) {
		return
	}
	h := map[string]any{}
	if g.chance(50) {
		h["claims"] = map[string]string{"x-email": "email", "x-plan": "plan"}
	}
	if g.chance(30) {
		h["roles"] = pick(g, "", "X-Groups")
	}
	if g.chance(20) {
		h["workspace_id"] = ""
	}
	w.config["identity_headers"] = h
}

func (g *generator) revocations(w *world) {
	if !g.chance(30) {
		return
	}
	var lines []string
	date := func(d time.Duration) string { return g.now.Add(d).UTC().Format(time.RFC3339) }
	for _, t := range w.tenants {
		lines = append(lines, some(g, 2,
			fmt.Sprintf(`{"tenant":%q,"jti":"j-1","expires":%q}`, t.id, date(time.Hour)),
			fmt.Sprintf(`{"tenant":%q,"jti":"j-2","expires":%q}`, t.id, date(-time.Hour)),
			fmt.Sprintf(`{"tenant":%q,"session_id":"s-1","expires":%q}`, t.id, date(time.Hour)),
			fmt.Sprintf(`{"tenant":%q,"sub":"user:bob","before":%q}`, t.id, date(-time.Minute)),
			fmt.Sprintf(`{"tenant":%q,"before":%q}`, t.id, date(-50*time.Minute)))...)
	}
	w.config["revocation"] = map[string]any{"file": "revoked.jsonl"}
	w.files["revoked.jsonl"] = strings.Join(lines, "\n")
}

// routes are patterns of few names, so that many of them meet.
func (g *generator) routes() (list []map[string]any) {
	mux := http.NewServeMux()
	for i := range 2 + g.IntN(7) {
		match := g.pattern()
		if i == 0 && g.chance(50) {
			match = "/"
		}
		if fits(mux, match) || g.chance(1) {
			list = append(list, g.needs(match))
		}
	}
	return list
}

// fits tells whether a pattern is in conflict with none that is there.
func fits(mux *http.ServeMux, match string) (ok bool) {
	defer func() { ok = recover() == nil }()
	for _, verb := range []string{":verb", ":Verb", ":purge"} {
		match = strings.ReplaceAll(match, "{id}"+verb, "-"+verb) // ServeMux has none
	}
	mux.Handle(match, http.NotFoundHandler())
	return true
}

func (g *generator) pattern() string {
	var b strings.Builder
	b.WriteString(pick(g, "", "", "", "GET ", "GET ", "POST ", "HEAD ", "DELETE "))
	wilds := []string{"{id}", "{name}"}
	for range 1 + g.IntN(3) {
		b.WriteByte('/')
		if len(wilds) > 0 && g.chance(30) {
			b.WriteString(wilds[0])
			wilds = wilds[1:]
			continue
		}
		b.WriteString(pick(g, "admin", "admin", "Admin", "items", "items", "a", "b", "files", "x.json", "a;b", "caf%C3%A9", "a%20b", "admin."))
	}
	b.WriteString(pick(g, "", "", "", "/", "/", "/{$}", "/{rest...}"))
	if strings.HasSuffix(b.String(), "d}") && g.chance(20) {
		b.WriteString(pick(g, ":verb", ":Verb", ":purge"))
	}
	return b.String()
}

func (g *generator) needs(match string) map[string]any {
	r := map[string]any{"match": match}
	if g.chance(20) {
		r["public"] = true
		return r
	}
	if g.chance(30) {
		r["scopes"] = pick(g, []string{"read:posts"}, []string{"read:posts", "write:posts"})
	}
	if g.chance(15) {
		r["any_scope"] = pick(g, []string{"delete:posts"}, []string{"delete:posts", "read:posts"})
	}
	if g.chance(25) {
		r["roles"] = pick(g, []string{"admin"}, []string{"admin", "editor"})
	}
	if g.chance(10) {
		r["all_roles"] = pick(g, []string{"editor"}, []string{"admin", "editor"})
	}
	if g.chance(25) {
		r["workspace"] = pick(g, "header:X-Workspace", "header:X.Org_Id", "query:workspace", "query:workspace", "query:work space", "query:Org", "query:a[org]")
		for _, name := range []string{"{id}", "{name}"} {
			if strings.Contains(match, name) && g.chance(70) {
				r["workspace"] = name
			}
		}
	}
	if g.chance(20) {
		r["access"] = pick(g, "read:media/files", "update:media/files", "files", "delete:*/files", "read:files?owner=me", "read:files?owner=me&kind=a%20b", "manage:a/", "update:files?")
	}
	return r
}

// member puts a claim where the tenant's issuer has it.
func (t *tenant) member(claims []member, name, value string) []member {
	place, mapped := t.claims[name]
	if !mapped {
		return set(claims, name, value)
	}
	switch place {
	case "/realm_access/roles":
		return set(claims, "realm_access", `{"roles":`+value+`}`)
	case "/org/1/id":
		return set(claims, "org", `[0,{"id":`+value+`}]`)
	case "/a~1b":
		return set(claims, "a/b", value)
	case "/t/~0x":
		return set(claims, "t", `{"~x":`+value+`}`)
	}
	return set(claims, place, value)
}

// good is a token that the tenant accepts, with what the route asks for, more
// often than not.
func (g *generator) good(t *tenant, route map[string]any) *token {
	s := pick(g, t.signers...)
	alg := s.alg
	if t.algs != nil {
		alg = t.algs[0]
	}
	k := &token{signer: s, header: []member{{"alg", text(alg)}, {"typ", `"JWT"`}}}
	if s.kid != "" {
		k.header = append(k.header, member{"kid", text(s.kid)})
	}
	at := func(d time.Duration) string { return fmt.Sprint(g.now.Add(d).Unix()) }
	c := []member{
		{"iss", text(pick(g, t.issuers...))}, {"aud", pick(g, text(t.audiences[0]), texts("x", t.audiences[0]))},
		{"exp", at(pick(g, time.Hour, time.Hour, 2*time.Minute))}, {"iat", at(-pick(g, time.Hour, 2*time.Minute))},
		{"jti", pick(g, `"j-1"`, `"j-2"`, `"j-3"`, `"j-4"`)}, {"session_id", pick(g, `"s-1"`, `"s-2"`, `"s-3"`)},
		{"email", pick(g, `"a@b.example"`, `"é %"`, `7`, `true`, `null`, `["x"]`)}, {"plan", pick(g, `"free"`, `"gold"`)},
	}
	c = t.member(c, "sub", pick(g, `"user:alice"`, `"user:bob"`))
	c = t.member(c, "token_type", text(t.tokenTypes[0]))
	tenantID := t.tenantIDs[0]
	if tenantID == "*" {
		tenantID = "anything"
	}
	c = t.member(c, "tenant_id", text(tenantID))
	c = t.member(c, "workspace_id", pick(g, `"ws_1"`, `"ws_1"`, `"ws_2"`, `""`))
	held := []string{"read:posts", "write:posts", "update:media/*", "read:files?owner=me", "*:*"}
	scopes := some(g, 4, held...)
	if g.chance(60) {
		scopes = append(slices.Clone(held), list(route["scopes"])...)
	}
	if g.chance(20) {
		c = t.member(c, "scopes", text(strings.Join(scopes, " ")))
	} else {
		c = t.member(c, "scopes", texts(scopes...))
	}
	roles := some(g, 2, "admin", "editor", "user")
	if g.chance(50) {
		roles = append(list(route["roles"]), list(route["all_roles"])...)
	}
	k.claims = t.member(c, "roles", texts(roles...))
	return k
}

func list(v any) []string {
	l, _ := v.([]string)
	return slices.Clone(l)
}

// request makes one that is meant to be allowed, and changes it here and there.
func (g *generator) request(w *world) request {
	if len(w.tenants) == 0 {
		return request{Method: "GET", Host: "acme.example", Path: "/"}
	}
	t := pick(g, w.tenants...)
	route := map[string]any{}
	if len(t.routes) > 0 {
		route = pick(g, t.routes...)
	}
	r := request{Extensions: map[string]string{}}
	match, _ := route["match"].(string)
	r.Method, r.Path = g.instance(match)
	g.address(w, t, &r)
	g.workspace(route, &r)
	if g.chance(85) {
		k := g.good(t, route)
		if g.chance(35) {
			g.spoil(w, k)
		}
		g.carry(t, &r, k.String())
	}
	if g.chance(35) {
		r.Path = g.bend(r.Path)
	}
	for g.chance(30) {
		g.disturb(w, t, &r)
	}
	if len(r.Extensions) == 0 {
		r.Extensions = nil
	}
	return r
}

// neighbour differs from another request in one thing: what a service remembers
// of one must not answer the other.
func (g *generator) neighbour(w *world, r request) request {
	r.Headers, r.Extensions = slices.Clone(r.Headers), maps.Clone(r.Extensions)
	if r.Extensions == nil {
		r.Extensions = map[string]string{}
	}
	switch n := g.IntN(10); {
	case n < 3:
		r.Path = g.bend(r.Path)
	case n < 5 && len(r.Headers) > 0:
		i := g.IntN(len(r.Headers))
		r.Headers = slices.Delete(r.Headers, i, i+1)
	case n < 6:
		r.Method = pick(g, "GET", "HEAD", "POST", "DELETE", "PUT")
	default:
		g.disturb(w, pick(g, w.tenants...), &r)
	}
	if len(r.Extensions) == 0 {
		r.Extensions = nil
	}
	return r
}

// instance is a request line that the pattern matches.
func (g *generator) instance(match string) (method, path string) {
	method, path, found := strings.Cut(match, " ")
	if !found {
		method, path = pick(g, "GET", "POST", "DELETE", "HEAD"), match
	}
	for _, wild := range []string{"{id}", "{name}"} {
		path = strings.ReplaceAll(path, wild, pick(g, "ws_1", "ws_1", "7", "admin", "items", "WS_1", "a.b"))
	}
	path = strings.ReplaceAll(path, "{rest...}", pick(g, "", "x", "x/y", "admin"))
	path = strings.TrimSuffix(path, "{$}")
	if strings.HasSuffix(path, "/") && g.chance(50) {
		path += pick(g, "x", "admin", "x/y.json", "items/")
	}
	return method, path
}

// address makes the request one of the tenant's.
func (g *generator) address(w *world, t *tenant, r *request) {
	r.Host = "nobody.example"
	if len(t.hosts) > 0 {
		r.Host = strings.Replace(pick(g, t.hosts...), "*", "www", 1)
	}
	sel, _ := w.config["tenant_selection"].(map[string]any)
	switch {
	case len(t.hosts) > 0 && g.chance(70):
	case w.header != "" && g.chance(70):
		r.Headers = append(r.Headers, [2]string{pick(g, w.header, strings.ToLower(w.header)), t.id})
	default:
		key := "tenant"
		if other, given := sel["context_extension"].(string); given {
			key = other
		}
		r.Extensions[key] = t.id
	}
}

// workspace names the one that most tokens have, where the route looks for it.
func (g *generator) workspace(route map[string]any, r *request) {
	place, _ := route["workspace"].(string)
	if name, found := strings.CutPrefix(place, "header:"); found && g.chance(80) {
		r.Headers = append(r.Headers, [2]string{name, "ws_1"})
	}
	if name, found := strings.CutPrefix(place, "query:"); found && g.chance(80) {
		r.Path += "?" + strings.ReplaceAll(name, " ", "%20") + "=ws_1"
	}
}

func (g *generator) carry(t *tenant, r *request, token string) {
	inCookie := t.typ == "" || t.cookie != "" && g.chance(25)
	if !inCookie || g.chance(5) && t.typ != "" {
		value := token
		if t.prefix != "" {
			value = pick(g, t.prefix, t.prefix, strings.ToLower(t.prefix)) + " " + token
		}
		r.Headers = append(r.Headers, [2]string{strings.ToLower(t.typ), value})
	}
	if inCookie {
		r.Headers = append(r.Headers, [2]string{"cookie", pick(g, "", "a=1; ", "x=\"y\";") + t.cookie + "=" + token + pick(g, "", "; b=2", ";;")})
	}
}

// clone copies a tree of maps, lists and scalars.
func cloneTree(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := maps.Clone(v)
		for name := range c {
			c[name] = cloneTree(c[name])
		}
		return c
	case []any:
		c := slices.Clone(v)
		for i := range c {
			c[i] = cloneTree(c[i])
		}
		return c
	}
	return v
}
