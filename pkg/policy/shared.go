package policy

import (
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// isPlainAllow tells whether a decision allows and says nothing else.
func (d *Decision) isPlainAllow() bool {
	texts := len(d.Headers) + len(d.RemoveHeaders) + len(d.ResponseHeaders) + len(d.SetQuery) + len(d.RemoveQuery)
	return d.Allowed && d.Reason == answers.Allowed && d.Detail == "" && texts == 0 &&
		d.Status == 0 && d.Body == nil && d.Metadata == nil && d.Err == nil
}

// clone returns a decision to keep, which holds on to nothing of the request.
func (d *Decision) clone() *Decision {
	c := *d
	c.Lookup = jwtverify.Hit
	c.Reason = answers.Reason(strings.Clone(string(d.Reason)))
	c.Detail = strings.Clone(d.Detail)
	c.Headers, c.ResponseHeaders, c.SetQuery = cloneFields(d.Headers), cloneFields(d.ResponseHeaders), cloneFields(d.SetQuery)
	c.RemoveHeaders, c.RemoveQuery = cloneTexts(d.RemoveHeaders), cloneTexts(d.RemoveQuery)
	if d.Body != nil {
		body := strings.Clone(*d.Body)
		c.Body = &body
	}
	if d.Metadata != nil {
		c.Metadata, _ = cloneNative(d.Metadata).(map[string]any)
	}
	return &c
}

// size is about how many bytes the texts of a decision take.
func (d *Decision) size() int64 {
	n := len(d.Reason) + len(d.Detail) + sizeNative(d.Metadata)
	for _, list := range [][]Header{d.Headers, d.ResponseHeaders, d.SetQuery} {
		for _, h := range list {
			n += perValue + len(h.Name) + len(h.Value)
		}
	}
	for _, list := range [][]string{d.RemoveHeaders, d.RemoveQuery} {
		for _, name := range list {
			n += perValue + len(name)
		}
	}
	if d.Body != nil {
		n += perValue + len(*d.Body)
	}
	return int64(n)
}

const perValue = 32 // of a value in memory, beside its text

// cloneFields leaves no room behind the list, so that a reader that appends to
// a shared decision gets a list of its own.
func cloneFields(list []Header) []Header {
	c := slices.Clip(slices.Clone(list))
	for i := range c {
		c[i] = Header{Name: strings.Clone(c[i].Name), Value: strings.Clone(c[i].Value)}
	}
	return c
}

func cloneTexts(list []string) []string {
	c := slices.Clip(slices.Clone(list))
	for i := range c {
		c[i] = strings.Clone(c[i])
	}
	return c
}

func cloneNative(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = cloneNative(v[i])
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for name, member := range v {
			c[strings.Clone(name)] = cloneNative(member)
		}
		return c
	}
	return v
}

func sizeNative(v any) int {
	n := perValue
	switch v := v.(type) {
	case string:
		n += len(v)
	case []any:
		for _, element := range v {
			n += sizeNative(element)
		}
	case map[string]any:
		for name, member := range v {
			n += perValue + len(name) + sizeNative(member)
		}
	}
	return n
}
