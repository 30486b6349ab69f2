package decisiontest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// suite reads the file: tokens first, since cases name them.
func (d *decoder) suite(root *yaml.Node) []Case {
	d.tokens = map[string]Token{}
	var list *yaml.Node
	written := d.section(root, "", map[string]read{
		"tokens": d.namedTokens,
		"cases":  func(n *yaml.Node, _ string) { list = n },
	})
	if resolve(root).Kind != yaml.MappingNode {
		return nil
	}
	var cases []Case
	if !written["cases"] || list.Kind == yaml.SequenceNode && len(list.Content) == 0 {
		d.fail(root.Line, "cases", "is missing or empty: write at least one case")
		return nil
	}
	names := map[string]int{}
	for i, item := range d.items(list, "cases") {
		c := d.one(item, fmt.Sprintf("cases[%d]", i))
		if first := names[c.Name]; first > 0 {
			d.fail(c.Line, fmt.Sprintf("cases[%d].name", i), "%q is the name of the case on line %d too", c.Name, first)
		}
		if c.Name != "" {
			names[c.Name] = c.Line
		}
		cases = append(cases, c)
	}
	return cases
}

func (d *decoder) namedTokens(n *yaml.Node, field string) {
	for key, value := range d.pairs(n, field) {
		if slices.Contains(words(), Kind(key.Value)) {
			d.fail(key.Line, join(field, key.Value), "is a word with a meaning of its own: choose another name")
		}
		d.tokens[key.Value] = d.token(value, join(field, key.Value))
	}
}

func (d *decoder) one(n *yaml.Node, field string) Case {
	c := Case{Line: n.Line, Token: Token{Kind: None}}
	written := d.section(n, field, map[string]read{
		"name":      func(n *yaml.Node, f string) { c.Name = d.text(n, f) },
		"request":   func(n *yaml.Node, f string) { c.Request = d.request(n, f) },
		"token":     func(n *yaml.Node, f string) { c.Token = d.token(n, f) },
		"token_in":  func(n *yaml.Node, f string) { c.InCookie = d.place(n, f) },
		"signed_by": func(n *yaml.Node, f string) { c.SignedBy = d.tenant(n, f) },
		"expect":    func(n *yaml.Node, f string) { c.Expect = d.expect(n, f) },
	})
	for _, key := range []string{"name", "request", "expect"} {
		if !written[key] && resolve(n).Kind == yaml.MappingNode {
			d.fail(n.Line, join(field, key), "is missing")
		}
	}
	if written["name"] && c.Name == "" {
		d.fail(n.Line, join(field, "name"), "is empty")
	}
	if c.Token.Kind == None && (written["token_in"] || written["signed_by"]) {
		d.fail(n.Line, field, "token_in and signed_by are about a token, and the case has none")
	}
	return c
}

func (d *decoder) place(n *yaml.Node, field string) bool {
	where := d.text(n, field)
	if where != "header" && where != "cookie" {
		d.fail(n.Line, field, "is %q: write header or cookie", where)
	}
	return where == "cookie"
}

func (d *decoder) tenant(n *yaml.Node, field string) string {
	id := d.text(n, field)
	var known []string
	for i := range d.cfg.Tenants {
		known = append(known, d.cfg.Tenants[i].ID)
	}
	if !slices.Contains(known, id) {
		d.fail(n.Line, field, "%q is no tenant of %s, which has %s", id, d.cfg.Path, strings.Join(known, ", "))
	}
	return id
}

func (d *decoder) request(n *yaml.Node, field string) Request {
	r := Request{Method: http.MethodGet}
	written := d.section(n, field, map[string]read{
		"method": func(n *yaml.Node, f string) { r.Method = d.text(n, f) },
		"host":   func(n *yaml.Node, f string) { r.Host = d.text(n, f) },
		"path":   func(n *yaml.Node, f string) { r.Path = d.text(n, f) },
		"body":   func(n *yaml.Node, f string) { r.Body = d.text(n, f) },
		"headers": func(n *yaml.Node, f string) {
			for key, value := range d.pairs(n, f) {
				for _, line := range d.lines(value, join(f, key.Value)) {
					r.Headers = append(r.Headers, Header{Name: key.Value, Value: line})
				}
			}
		},
		"extensions": func(n *yaml.Node, f string) {
			r.Extensions = map[string]string{}
			for key, value := range d.pairs(n, f) {
				r.Extensions[key.Value] = d.text(value, join(f, key.Value))
			}
		},
	})
	for _, key := range []string{"host", "path"} {
		if !written[key] && n.Kind == yaml.MappingNode {
			d.fail(n.Line, join(field, key), "is missing")
		}
	}
	return r
}

// lines reads one text or a list of them: a header may come more than once.
func (d *decoder) lines(n *yaml.Node, field string) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{d.text(n, field)}
	}
	var all []string
	for i, item := range d.items(n, field) {
		all = append(all, d.text(item, fmt.Sprintf("%s[%d]", field, i)))
	}
	return all
}

func (d *decoder) token(n *yaml.Node, field string) Token {
	if n.Kind == yaml.MappingNode {
		t := Token{Kind: Claims, Claims: map[string]any{}}
		for key, value := range d.pairs(n, field) {
			t.Claims[key.Value] = d.claim(key.Value, value, join(field, key.Value))
		}
		return t
	}
	name := d.text(n, field)
	if slices.Contains(words(), Kind(name)) {
		return Token{Kind: Kind(name)}
	}
	token, ok := d.tokens[name]
	if !ok && name != "" {
		d.fail(n.Line, field, "%q is no token of this file: write claims, the name of one under tokens:, or a word of %v", name, words())
	}
	return token
}

// claim reads a claim. The times may be written from now on: exp: -5m.
func (d *decoder) claim(name string, n *yaml.Node, field string) any {
	value := d.any(n, field, 0)
	text, ok := value.(string)
	if !ok || name != "exp" && name != "nbf" && name != "iat" {
		return value
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		d.fail(n.Line, field, "is neither a number of seconds since 1970 nor a duration from now, like -5m")
	}
	return fromNow(duration)
}

// fromNow is a time that is known when the token is minted.
type fromNow time.Duration

var reasonName = regexp.MustCompile(`^[a-z0-9_]+$`)

func (d *decoder) expect(n *yaml.Node, field string) Expect {
	var e Expect
	written := d.section(n, field, map[string]read{
		"status":   func(n *yaml.Node, f string) { e.Status = d.status(n, f) },
		"reason":   func(n *yaml.Node, f string) { e.Reason = d.reason(n, f) },
		"detail":   func(n *yaml.Node, f string) { e.Detail = d.textPointer(n, f) },
		"body":     func(n *yaml.Node, f string) { e.Body = d.textPointer(n, f) },
		"upstream": func(n *yaml.Node, f string) { e.Upstream = d.optionalTexts(n, f) },
		"response": func(n *yaml.Node, f string) { e.Response = d.optionalTexts(n, f) },
		"removed": func(n *yaml.Node, f string) {
			for _, name := range d.lines(n, f) {
				e.Removed = append(e.Removed, strings.ToLower(name))
			}
		},
	})
	if !written["status"] && !written["reason"] && n.Kind == yaml.MappingNode {
		d.fail(n.Line, field, "says neither status nor reason, so that a denial and an allow would look alike")
	}
	return e
}

func (d *decoder) status(n *yaml.Node, field string) *int {
	status, err := strconv.Atoi(d.text(n, field))
	if err != nil || status < 200 || status > 599 {
		d.fail(n.Line, field, "is no HTTP status; 200 is an allowed request")
	}
	return &status
}

func (d *decoder) reason(n *yaml.Node, field string) *string {
	reason := d.text(n, field)
	if !reasonName.MatchString(reason) {
		d.fail(n.Line, field, "is no reason: it is made of a-z, 0-9 and _")
	}
	return &reason
}
