package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"unicode"

	json2 "github.com/go-json-experiment/json"
)

// Reading is what a parser reads of a body: the values of the guarded name.
type Reading struct {
	Parser string `json:"parser"`
	Top    []any  `json:"top"` // of the document itself
	All    []any  `json:"all"` // of all objects in it, those of Top too

	// Loose: it takes other names for the guarded one. Top is to be compared only
	// where the policy saw the guarded name.
	Loose bool `json:"loose"`
}

// GoReadings are those of Go's own parsers that can read the body.
func GoReadings(body Body) (list []Reading) {
	kind := strings.ToLower(body.ContentType)
	if strings.Contains(kind, "application/json") {
		var v any
		if json.Unmarshal(body.Bytes, &v) == nil {
			list = append(list, document("encoding/json", v))
		}
		var loose struct {
			Role json.RawMessage `json:"role"`
		}
		if json.Unmarshal(body.Bytes, &loose) == nil && loose.Role != nil && json.Unmarshal(loose.Role, &v) == nil {
			list = append(list, Reading{Parser: "encoding/json into a struct", Top: []any{v}, Loose: true})
		}
		if v = nil; json2.Unmarshal(body.Bytes, &v) == nil {
			list = append(list, document("json/v2", v))
		}
	}
	if strings.Contains(kind, "application/x-www-form-urlencoded") {
		if form, err := url.ParseQuery(string(body.Bytes)); err == nil {
			list = append(list, texts("net/url", form[Guarded]))
		}
	}
	if _, params, err := mime.ParseMediaType(body.ContentType); err == nil && strings.Contains(kind, "multipart/form-data") {
		if values, err := partsOf(body.Bytes, params["boundary"]); err == nil {
			list = append(list, texts("mime/multipart", values))
		}
	}
	return list
}

func document(parser string, v any) Reading {
	r := Reading{Parser: parser, All: guarded(v, nil)}
	if object, ok := v.(map[string]any); ok {
		if value, ok := object[Guarded]; ok {
			r.Top = []any{value}
		}
	}
	return r
}

func guarded(v any, found []any) []any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if name == Guarded {
				found = append(found, member)
			}
			found = guarded(member, found)
		}
	case []any:
		for _, element := range v {
			found = guarded(element, found)
		}
	}
	return found
}

func texts(parser string, values []string) Reading {
	r := Reading{Parser: parser}
	for _, value := range values {
		r.Top = append(r.Top, value)
	}
	r.All = r.Top
	return r
}

func partsOf(body []byte, boundary string) (values []string, err error) {
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return values, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		if part.FormName() == Guarded {
			values = append(values, string(content))
		}
	}
}

// Unseen tells what a parser reads as a value of the guarded name that a policy
// did not see in parsed, its input.parsed_body; "" where it saw all.
func Unseen(body Body, parsed any, r Reading) string {
	top, all := seen(strings.Contains(strings.ToLower(body.ContentType), "application/json"), parsed)
	if !r.Loose || len(top) > 0 {
		for _, value := range r.Top {
			// What only brackets name is another name, as the documents say.
			if !holds(top, value) && (len(top) > 0 || !holds(all, value)) {
				return fmt.Sprintf("%s reads %s: %v, and the policy sees %v", r.Parser, Guarded, value, top)
			}
		}
	}
	for _, value := range r.All {
		if !holds(all, value) {
			return fmt.Sprintf("%s reads somewhere %s: %v, and the policy sees %v", r.Parser, Guarded, value, all)
		}
	}
	return ""
}

// seen are the values of the guarded name that a policy sees. In a form, name[]
// and a[name] are such names too.
func seen(isJSON bool, parsed any) (top, all []any) {
	if isJSON {
		r := document("", parsed)
		return r.Top, r.All
	}
	form, _ := parsed.(map[string]any)
	for name, values := range form {
		list, _ := values.([]any)
		all = guarded(values, all) // in JSON parts
		if name == Guarded {
			top = append(top, list...)
		}
		if slices.Contains(strings.FieldsFunc(name, func(r rune) bool { return r == '[' || r == ']' }), Guarded) {
			all = append(all, list...)
		}
	}
	return top, all
}

func holds(list []any, value any) bool {
	return slices.ContainsFunc(list, func(v any) bool { return alike(v, value) })
}

// alike compares as servers do: numbers are float64s, and what is not ASCII is
// read as Latin-1 by some. A list of one, which a form's parser makes of brackets, is its
// element, and a JSON part may be read as text.
func alike(a, b any) bool {
	if text, ok := b.(string); ok {
		if own, ok := a.(string); ok {
			return plain(own) == plain(text)
		}
		var v any
		return json.Unmarshal([]byte(text), &v) == nil && alike(a, v)
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && (bytes.Equal(x, y) || bytes.Equal(bytes.ReplaceAll(x, []byte("-0"), []byte("0")), y))
}

func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return -1
		}
		return r
	}, s)
}
