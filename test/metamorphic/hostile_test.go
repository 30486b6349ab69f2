package metamorphic

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// bend writes a path in another way, or another path that some server takes for
// it.
func (g *generator) bend(target string) string {
	path, query, hasQuery := strings.Cut(target, "?")
	segments := strings.Split(path, "/")
	s := &segments[len(segments)-1]
	if len(segments) > 2 && g.chance(50) {
		s = &segments[1+g.IntN(len(segments)-1)]
	}
	for range 1 + g.IntN(2) {
		*s = pick(g, g.misread(*s), g.misread(*s), g.misread(*s), g.refused(*s))
	}
	path = strings.Join(segments, "/")
	path = pick(g, path, path, path, path, path, path, path, path, path, path, path+"/", path+"/", path+"/", path+"/", "/"+path, path+"//", strings.TrimSuffix(path, "/"), path[min(1, len(path)):], "http://acme.example"+path, "*", "/"+strings.Repeat("a", 8200))
	if hasQuery {
		path += "?" + query
	}
	return path
}

// misread is a segment that some server takes for s.
func (g *generator) misread(s string) string {
	if g.chance(30) {
		return pick(g, strings.ToUpper(s), strings.ToUpper(s[:min(1, len(s))])+s[min(1, len(s)):], strings.ToLower(s))
	}
	return pick(g,
		strings.ReplaceAll(s, "s", "%C5%BF"), strings.ReplaceAll(s, "i", "%C4%B0"), strings.ReplaceAll(s, "%C3%A9", "%C3%89"),
		s+".json", s+".json", s+".tar.gz", s+".", s+"..", s+"%20", s+".%20.", s+"%2e", "."+s, s+".%2ejson", s+"%2Ejson",
		s+";x", s+";x=1", s+";", s+"%3bx", ";x", ";", s+".json;x", s+";x.json", s+";x.", s+"%20;x", s+".%20;x", "...", "%20", ".x", "%20.x", "x;/"+s, s+"/", s+"/x",
		hexed(s), "%61dmin", "admin", "Admin", "items", "x.json", "a;b", "%7Bid%7D", "%7B$%7D", s+"+", "~"+s, s+":verb", s+":VERB", s+":purge", s+"%3averb", ":verb", s+":x:verb", s+":verb.json", s+"%c2%a0", "%20"+s, s+"%25")
}

// refused is a segment that makes a path one of several.
func (g *generator) refused(s string) string {
	return pick(g, "..;", ".;x", "%2e", "..", ".", "", s+"%2f", s+"%5c", s+`\`, s+"%00", s+"%0a", s+"%09", s+"%zz", s+"%", s+"%252e", s+"%2525", s+"#x", s+" ", s+"é", s+"%ff", s+"%e2%80%a8", s+"%c0%ae", s+"%c2%85", "%2e%2e%3bx", ".%2E", "/"+s)
}

// hexed escapes every byte.
func hexed(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '%' {
			return s
		}
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

// disturb changes something of the request but its path and its token.
func (g *generator) disturb(w *world, t *tenant, r *request) {
	switch g.IntN(9) {
	case 0:
		r.Method = pick(g, "GET", "HEAD", "POST", "PUT", "get", "Get", "CONNECT", "OPTIONS", "TRACE", "TRACK", "TRACES", "", "G T", "GET\n", "M-SEARCH", strings.Repeat("A", 32), strings.Repeat("A", 33), "GÉT")
	case 1:
		r.Host = pick(g, r.Host+":8443", r.Host+".", strings.ToUpper(r.Host), r.Host+"..", r.Host+":", r.Host+":65536", r.Host+":00080", "x."+r.Host, "www."+r.Host, r.Host+","+r.Host, "user@"+r.Host,
			"nobody.example", "globex.example", "acme.example", "a.b.example", "[2001:DB8:0::1]:80", "[::1]", "[::1", "[fe80::1%25eth0]", "::1", "", " "+r.Host, "a..b", "-.x", "*.acme.example", "é.example", r.Host+"/x", strings.Repeat("a", 64)+".b", "_x.acme.example")
	case 2:
		name := pick(g, w.header, "x-tenant-id", "X-Org", "x_tenant_id", "x.tenant.id")
		if name != "" {
			r.Headers = append(r.Headers, [2]string{name, pick(g, t.id, t.id, "acme", "globex", "ACME", "", "acme,globex", "nobody", " acme")})
		}
	case 3:
		r.Extensions[pick(g, "tenant", "tenant", "org", "x", "")] = pick(g, t.id, "acme", "globex", "", "ACME")
	case 4:
		if g.chance(40) {
			r.Headers = append(r.Headers, [2]string{pick(g, "x_user_id", "x.user.id", "X_Roles", "x!scopes", "x-user-id", "x-tenant.id"), "root"})
			return
		}
		r.Headers = append(r.Headers, [2]string{
			pick(g, "x-user-id", "X-User-Id", "x_user_id", "x.roles", "x!scopes", "x-roles", "x-groups", "x-email", "x_plan", "x-envoy-auth-failure-mode-allowed", "x-envoy-auth-headers-to-remove", "X-Flag", "x-flag", ":path", ":authority", ":scheme", "x y", "", "x\xc3\xa9", "x-h"),
			pick(g, "root", "on", "1", "", "a\x00b", "a\tb", "\xff", "é", "a\r\nb", r.Path, r.Host, "\x7f"),
		})
	case 5:
		r.Headers = append(r.Headers, [2]string{pick(g, "connection", "connection", "Connection", "proxy-connection", "trailer"), pick(g, "close", "close", "keep-alive, te", "x-user-id", "close, X_Roles", "authorization", "cookie", "x-org,x-tenant-id", "x-workspace")})
	case 6:
		g.duplicate(t, r)
	case 7:
		r.Path += pick(g, "?", "&") + pick(g, "workspace=ws_1", "workspace=ws_2", "Workspace=ws_2", "workspace[]=ws_2", "q=1;workspace=ws_2", "%77orkspace=ws_2", "workspace%00=ws_2", "work%u0073pace=ws_2", "+workspace=ws_2", "workspace",
			"work+space=ws_1", "work%20space=ws_1", "work_space=ws_2", "org=ws_1", "ORG=ws_1", "flag=1", "flag=1&flag=2", "fl%61g=1", "%zz=1", "a=%ff", "workspace%5B0%5D=ws_2", "workspace.x=ws_2", "&&", "workspace==ws_2", "workspace%3Dws_2", "flag", "=1",
			"WORKSPACE=ws_1", "q=%3Bworkspace%3Dws_2", "workspace[x]=ws_1", "[workspace]=ws_2", "workspace]=v", "work%C5%BFpace=v", "work.space=v", "work-space=v", "%09workspace=v", "workspace%00x=v", "%U0077orkspace=v", "%u0077ork%73pace=v", "a=%u0077;%u0077orkspace=v", "%u0041%zz=1", "filter[workspace]=v", "q=a;b", ";workspace", "workspace=ws_1;", "xworkspace=v", "a[org]=1", "org[a]=1")
	case 8:
		r.Headers = append(r.Headers, [2]string{pick(g, "x-workspace", "X-Workspace", "x_workspace", "x.workspace", "x-org-id", "x.org_id", "X-ORG-ID", "x!workspace", "x-org_id"), pick(g, "ws_1", "ws_1", "ws_2", "", "ws_1,ws_2", "ws_1;x")})
	}
}

// duplicate repeats the credential, or brings another one.
func (g *generator) duplicate(t *tenant, r *request) {
	value := ""
	for _, h := range r.Headers {
		if strings.EqualFold(h[0], t.typ) || h[0] == "cookie" {
			value = h[1]
		}
	}
	name := pick(g, strings.ToLower(t.typ), t.typ, "Authorization", "authorization", "cookie", "Cookie")
	if name == "" {
		name = "authorization"
	}
	r.Headers = append(r.Headers, [2]string{name, pick(g,
		value, value, "Bearer a.b.c", "Basic dTpw", "Bearer", "Bearer ", "Bearer\ta.b.c", "Bearera.b.c", "Bearer=a.b.c", "", "Bearer a b", "a.b.c", value+" ", value+","+value, "Bearer  "+strings.TrimPrefix(value, "Bearer "), "BEARER a.b.c", "Token a.b.c", "Bearer a\x00b", "Basic a\r\nb",
		t.cookie+"=x", t.cookie+" =x", t.cookie+"= x", t.cookie+"=\"x\"", t.cookie+"=", "x"+t.cookie+"=y", strings.ToUpper(t.cookie)+"=y", t.cookie+"=a,b", "a=\x01; b=2", ";;; =y; "+t.cookie+"=;", t.cookie, "a=1", "c=\xff; d=é",
		"Bearer "+strings.Repeat("a", 16385))})
}

// spoil gives the token one defect, or what only looks like one.
func (g *generator) spoil(w *world, k *token) {
	at := func(d time.Duration) string { return fmt.Sprint(g.now.Add(d).Unix()) }
	wrong := func() string {
		return pick(g, `null`, `7`, `true`, `""`, `[]`, `{}`, `["x"]`, `[null]`, `"x"`, `"é"`, `"a b"`, `"a,b"`, `"a\nb"`, `["a","a b"]`, `["",""]`, `["","read:posts"]`, `" "`, strings.Repeat("7", 4097), "-1.5e-7", "1E400", `"`+strings.Repeat("r", 4097)+`"`, `["`+strings.Repeat(`x","`, 4095)+`x"]`, `"\u0000"`, `"\u007f"`, `"\u0085"`)
	}
	switch g.IntN(14) {
	case 0, 1:
		name := pick(g, "iss", "aud", "exp", "nbf", "iat", "sub", "user_id", "tenant_id", "workspace_id", "roles", "scopes", "token_type", "session_id", "jti", "email", "plan", "uid", "oid", "scope", "realm_access", "org", "t", "a/b")
		k.claims = set(k.claims, name, wrong())
	case 2:
		k.claims = without(k.claims, pick(g, "iss", "aud", "exp", "iat", "sub", "tenant_id", "workspace_id", "roles", "scopes", "token_type", "jti"))
	case 3:
		k.claims = set(k.claims, pick(g, "exp", "exp", "nbf", "iat"), pick(g,
			at(0), at(-time.Second), at(-9*time.Second), at(-10*time.Second), at(-11*time.Second), at(9*time.Second), at(10*time.Second), at(11*time.Second), at(-5*time.Minute), at(5*time.Minute), at(301*time.Second), at(-time.Hour), at(24*time.Hour),
			"0", "-1", "1", "0.9", "1.5", at(time.Hour)+".999", at(-10*time.Second)+".5", "1e10", "1E3", "253402300799", "253402300800", "1e999", "99999999999999999999", "-0", "4102444800.0e0", "0.4102444800e10", "1e-3"))
	case 4:
		k.claims = append(k.claims, pick(g, member{"sub", `"user:root"`}, member{"roles", `["admin"]`}, member{"x", "1"}, member{"Exp", "1"}, member{"deep", strings.Repeat("[", 31) + strings.Repeat("]", 31)}, member{"deep", strings.Repeat("[", 32) + strings.Repeat("]", 32)}, member{"bad", `"\ud800"`}, member{"bad", "\"\xff\""}, member{"bad", "01"}, member{"bad", "[1,]"}, member{"n", "1e400"}, member{"plan", `"gold"`}))
	case 5:
		k.claims = set(k.claims, pick(g, "iss", "aud", "tenant_id", "token_type"), pick(g, `"https://sso.shared.example"`, `"https://old.example"`, `"other"`, `"acme"`, `"globex"`, `"*"`, `"refresh"`, `"refresh"`, `"access"`, `["app","app"]`, `"APP"`, `"app "`))
	case 6:
		k.header = set(k.header, "alg", pick(g, `"none"`, `"HS256"`, `"RS384"`, `"RS512"`, `"ES256"`, `"ES384"`, `"EdDSA"`, `"Ed25519"`, `"EDDSA"`, `"eddsa"`, `"PS256"`, `"ES512"`, `""`, `null`, `7`, `["EdDSA"]`))
	case 7:
		k.header = set(k.header, pick(g, "kid", "kid", "typ", "cty"), pick(g, `"ed-1"`, `"ed-2"`, `"nobody"`, `""`, `null`, `7`, `"jwt"`, `"JWT"`, `"at+jwt"`, `"application/at+JWT"`, `"application/"`, `"application/json"`, `"JOSE"`, `"application/application/jwt"`, `" JWT"`))
	case 8:
		k.header = append(k.header, pick(g, member{"crit", `["exp"]`}, member{"crit", "null"}, member{"b64", "true"}, member{"zip", `"DEF"`}, member{"enc", `""`}, member{"jwk", `{"kty":"OKP"}`}, member{"jku", `"https://evil.example"`}, member{"x5c", "[]"}, member{"alg", `"EdDSA"`}, member{"kid", `"ed-1"`}, member{"a\u006cg", `"EdDSA"`}, member{"x", strings.Repeat(" ", 2100) + "1"}, member{"x", `"\ud800"`}))
	case 9:
		k.header = without(k.header, pick(g, "alg", "kid", "typ"))
	case 10:
		k.signer = pick(g, g.signers...)
		if g.chance(50) {
			k.header = set(k.header, "alg", text(k.signer.alg))
		}
	case 11:
		k.signature = func(s []byte) []byte {
			flipped := append([]byte(nil), s...)
			flipped[g.IntN(len(s))] ^= 1 << g.IntN(8)
			switch g.IntN(7) {
			case 0:
				return append(s, 0)
			case 1:
				return s[:len(s)-1]
			case 2:
				return append([]byte{0}, s...)
			case 3:
				return highS(s)
			case 4:
				return make([]byte, len(s))
			}
			return flipped
		}
	case 12:
		k.finish = func(s string) string {
			parts := strings.Split(s, ".")
			return pick(g, s+"=", s+".", "."+s, s+".x", parts[0]+"."+parts[1]+".", parts[0]+".."+parts[2], parts[0]+"=."+parts[1]+"."+parts[2], lastBits(s), lastBits(parts[0])+"."+parts[1]+"."+parts[2], parts[0]+"."+lastBits(parts[1])+"."+parts[2],
				strings.Replace(s, "_", "/", 1), strings.Replace(s, "-", "+", 1), strings.ToUpper(s), s+"A", parts[0]+"."+parts[0]+"."+parts[2], parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"user:root"}`))+"."+parts[2])
		}
	case 13:
		if t := pick(g, w.tenants...); len(t.issuers) > 0 { // another tenant's
			k.claims = set(k.claims, "iss", text(t.issuers[0]))
			k.signer = t.signers[0]
			k.header = set(set(k.header, "alg", text(k.signer.alg)), "kid", text(k.signer.kid))
			k.claims = t.member(k.claims, "tenant_id", text(pick(g, t.id, t.tenantIDs[0])))
		}
	}
}

// lastBits changes what the last character of base64 has beyond its bytes.
func lastBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[i^1])
}

// highS is the other signature that P-256 has for the same text.
func highS(s []byte) []byte {
	order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	if len(s) != 64 {
		return s[:len(s)/2]
	}
	other := new(big.Int).Sub(order, new(big.Int).SetBytes(s[32:]))
	if other.Sign() < 0 {
		return s
	}
	return append(append([]byte(nil), s[:32]...), other.FillBytes(make([]byte, 32))...)
}
