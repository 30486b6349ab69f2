package testkit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Body is a request's body and the type that it says it has.
type Body struct {
	ContentType string
	Bytes       []byte
}

// Guarded is the name whose values these bodies hide: what a policy would guard.
const Guarded = "role"

const (
	jsonType      = "application/json"
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data; boundary=x"
)

func part(header, content string) string {
	return "--x\r\n" + header + "\r\n\r\n" + content + "\r\n"
}

func field(rest string) string { return part("Content-Disposition: form-data; "+rest, "admin") }

// seedBodies are what a corpus begins with: readings that are known to differ.
var seedBodies = []Body{
	{jsonType, []byte(`{"role": "user", "role": "admin"}`)},
	{jsonType, []byte(`{"role": "user", "r\u006fle": "admin", "a": [{"role": 1}]}`)},
	{jsonType, []byte(`{"role": "user", "Role": "admin", "ROLE": 3}`)},
	{jsonType, []byte("\xef\xbb\xbf{\"role\": \"admin\"}")},
	{jsonType, []byte("\xff\xfe{\x00\"\x00r\x00o\x00l\x00e\x00\"\x00:\x001\x00}\x00")},
	{jsonType, []byte(`{"role": "user", "a": {"role": [1, 2]}, "b": [{"c": 1}, {"role": null}], "é": "\u00e9"}`)},
	{jsonType, []byte(`[{"role": "user"}, "role", {"a": "role", "role": {"role": false}}]`)},
	{jsonType, []byte(`{"id": 1, "name": "a", "roleName": "b", "roles": ["c"], "role": 0.1e-5}`)},
	{formType, []byte("name=a&role=user&b[c]=d&b[role]=e&b[f][]=1&b[f][]=2")},
	{jsonType, []byte(`{"a": {"b": [{"role": ["x", null, true, -1.5e3]}]}}`)},
	{jsonType, []byte(`{"role": "\ud800"} {"role": "admin"}`)},
	{jsonType, []byte(`{"role": NaN, 'role': "admin", /* "role": 1 */}`)},
	{"application/json; charset=utf-7", []byte(`{"a": "+ACIALAAiAHIAbwBsAGUAIgA6ACIAYQBkAG0AaQBu-"}`)},
	{"application/json; charset=utf-16le", []byte("{\x00\"\x00r\x00o\x00l\x00e\x00\"\x00:\x001\x00}\x00")},
	{"application/json, application/x-www-form-urlencoded", []byte(`{"a&role=admin&b": "user", "role": "user"}`)},
	{formType, []byte("role=user&role=admin&a=%C3%A9+x")},
	{formType, []byte("role=user;role=admin")},
	{formType, []byte("role=user&role[]=admin&[role]=b&role[x][y]=c")},
	{formType, []byte("user[role]=user&user[name]=b&user[role][]=admin")},
	{formType, []byte("?role=admin&%72ole=user&ro%00le=x&+role=y&role%20=z")},
	{formType, []byte("role=%zz&%u0072ole=admin&role%=1")},
	{formType + "; charset=utf-7", []byte("+AHI-ole=admin")},
	{formType, []byte("_charset_=utf-7&role=%FF")},
	{multipartType, []byte(field(`name="role"`) + "--x--\r\n")},
	{multipartType, []byte(field(`name="role"`) + field(`name="role"; filename="a"`) + part("Content-Disposition: form-data; name=\"role\"\r\nContent-Type: application/json", `{"role": 1}`) + "--x--\r\n")},
	{multipartType, []byte(field(`name="a"; name="role"`) + field(`name*=utf-8''role`) + field(`name="a"; name*0="ro"; name*1="le"`) + "--x--")},
	{multipartType, []byte(field(`name="a\"; name=\"role"`) + field(`name=role`) + field(`NAME="role"; filename*=utf-8''x`) + "--x--")},
	{multipartType, []byte(field(`name="=?utf-8?q?role?="`) + field(`name="ro%22le"`) + field("name=\"role\"\r\nContent-Disposition: form-data; name=\"a\"") + "--x--")},
	{multipartType, []byte("role\r\n" + field(`name="a"`) + "--x--\r\n" + field(`name="role"`) + "--x--")},
	{multipartType, []byte(strings.ReplaceAll(field(`name="role"`), "\r\n", "\n") + "--x--")},
	{multipartType, []byte(field("\r\n name=\"role\"") + field("name=\"role\"\r\nContent-Transfer-Encoding: base64") + "--x --")},
	{multipartType, []byte(field("name=\"role\"\r\nContent-Type: text/plain; charset=utf-7") + field("name=\"role\"\r\nContent-Type: multipart/mixed; boundary=y") + "--x--")},
	{"multipart/form-data; boundary=y; boundary=x", []byte(field(`name="role"`) + "--x--")},
	{`multipart/form-data; a="boundary=x"`, []byte(field(`name="role"`) + "--x--")},
	{`Multipart/Form-Data; boundary="x"`, []byte(field(`name="role"`) + "--x--")},
	{"multipart/form-data", []byte(field(`name="role"`) + "--x--")},
	{"text/plain", []byte(`{"role": "admin"}`)},
}

// tokens are what mutations put in.
var tokens = map[string][]string{
	"application/json": {
		`"role"`, `"Role"`, `"r\u006fle"`, `"rol\u0065"`, `"role\u0000"`, `"ſ"`, `"admin"`, `"user"`, `{`, `}`, `[`, `]`, `,`, `:`, `{"role":"admin"}`, `,"role":"user"`,
		"\"\xff\"", `"\ud800"`, `"\udc00\ud800"`, `"\uD83D\uDE00"`, "\x00", "\ufeff", "\u00a0", "\n", "\f", `\`, `/*`, `*/`, `//`, `'role'`, `role`, `NaN`, `1e400`, `01`, `-0`, `+1`, `.5`, `1.`, `0x1`, "true", "null", ` `, `"__proto__"`, `"constructor"`,
	},
	"application/x-www-form-urlencoded": {
		"&", "=", ";", "role", "role=admin", "&role=user", "Role", "role[]", "role[0]", "role[x]", "[role]", "[]role", "role]", "role[", "a[role]", "a[role][]", "%72ole", "rol%65", "%", "%zz", "%00", "%0a", "%ff", "%C3%A9", "%5B%5D", "%u0072", "+", "?", "#", "\xff", "\ufeff", "\n", ".", "__proto__", "a.role", "_charset_=utf-7", "utf8=%26%2310003%3B", "%26%2310003%3B",
	},
	"multipart/form-data": {
		"--x", "--x\r\n", "--x--", "--x--\r\n", "\r\n", "\n", "\r", "\r\n\r\n", "--", "x", " ", "\t", "Content-Disposition: form-data; name=\"role\"", "Content-Disposition: form-data; name=\"a\"", "content-disposition:form-data;name=role",
		"name=\"role\"", "; name=\"role\"", ";name=role", "; name*=utf-8''role", "; name*0=\"role\"", "; filename=\"role\"", "; filename*=utf-8''a", "name", "filename", "role", "\"", "\\\"", "\\", ";", "=", ":", "%22", "=?utf-8?q?role?=", "=?utf-8?b?cm9sZQ==?=", "form-data", "attachment",
		"Content-Type: application/json", "Content-Type: text/plain; charset=utf-16", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "=72ole", "Content-Type: multipart/mixed; boundary=y", "--y", "admin", "{\"role\":\"admin\"}", "_charset_", "\xff", "\x00", "\ufeff", "(comment)",
	},
}

// types are what mutations of the content type put in.
var types = []string{
	"; charset=utf-8", "; charset=utf-7", "; charset=\"utf-16\"", "; charset=iso-8859-1", "; charset*0=utf; charset*1=-7", "; boundary=x", "; boundary=y", "; boundary=\"x\"", "; boundary=", "; boundary*=utf-8''x", "; boundary*0=x", "; Boundary=x", "; a=\"; boundary=x\"",
	", " + jsonType, ", " + formType, ", multipart/form-data; boundary=x", ";", " ", "\"", "; a=b", ";boundary = x", "+json", "\\",
}

// Corpus makes bodies that parsers may read differently, the same for the same
// number.
type Corpus struct {
	seeds  []Body
	pools  [kinds][]Body // by their type, so that none outgrows the others
	random *rand.Rand
}

const kinds = 3

// NewCorpus begins with the seeds, and more.
func NewCorpus(number uint64, more ...Body) *Corpus {
	c := &Corpus{seeds: append(append([]Body(nil), seedBodies...), more...), random: rand.New(rand.NewPCG(number, 1))} // #nosec G404 -- a test's
	for _, body := range c.seeds {
		c.Keep(body)
	}
	return c
}

// Next returns a seed, or a mutation where there are no more.
func (c *Corpus) Next() (body Body, seed bool) {
	if len(c.seeds) > 0 {
		body, c.seeds = c.seeds[0], c.seeds[1:]
		return body, true
	}
	pool := c.pools[c.random.IntN(kinds)]
	body = pool[c.random.IntN(len(pool))]
	for range 1 + c.random.IntN(3) {
		body = mutate(c.random, body)
	}
	return body, false
}

// Keep has mutations made of a body, for one that tells something.
func (c *Corpus) Keep(body Body) {
	kind := 0
	switch text := strings.ToLower(body.ContentType); {
	case strings.Contains(text, "multipart/form-data"):
		kind = 1
	case strings.Contains(text, "urlencoded"):
		kind = 2
	}
	if len(c.pools[kind]) < 2000 && len(body.Bytes) < 1000 {
		c.pools[kind] = append(c.pools[kind], body)
	}
}

func mutate(random *rand.Rand, body Body) Body {
	if random.IntN(12) == 0 {
		i := random.IntN(len(body.ContentType) + 1)
		if random.IntN(2) == 0 {
			i = len(body.ContentType)
		}
		body.ContentType = body.ContentType[:i] + types[random.IntN(len(types))] + body.ContentType[i:]
		return body
	}
	b := bytes.Clone(body.Bytes)
	i := random.IntN(len(b) + 1)
	j := min(len(b), i+random.IntN(12))
	switch random.IntN(6) {
	case 0: // leave out
		b = append(b[:i], b[j:]...)
	case 1: // repeat
		b = bytes.Join([][]byte{b[:j], b[i:j], b[j:]}, nil)
	case 2: // another byte
		if i < len(b) {
			b[i] = byte(random.IntN(256))
		}
	case 3: // another case
		for k := i; k < j; k++ {
			if c := b[k] | 0x20; 'a' <= c && c <= 'z' {
				b[k] ^= 0x20
			}
		}
	default:
		token := anyToken(random, body.ContentType)
		if random.IntN(3) == 0 { // in the place of something
			b = append(b[:i:i], append([]byte(token), b[j:]...)...)
		} else {
			b = append(b[:i:i], append([]byte(token), b[i:]...)...)
		}
	}
	return Body{body.ContentType, b}
}

func anyToken(random *rand.Rand, contentType string) string {
	for _, kind := range []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data"} {
		if strings.Contains(strings.ToLower(contentType), kind) {
			list := tokens[kind]
			return list[random.IntN(len(list))]
		}
	}
	return fmt.Sprint(random.IntN(10))
}
