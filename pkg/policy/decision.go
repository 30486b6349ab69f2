package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"golang.org/x/net/http/httpguts"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Decision is what a policy said. The zero value denies. What its fields lead
// to is shared with other requests where decisions are cached: it must not be
// changed.
type Decision struct {
	Allowed bool
	Reason  answers.Reason // Allowed, one of the table, or a name of the policy's own
	Detail  string         // "": the reason's own

	// What the policy adds to the answer. On an allow Headers go to the
	// upstream; on a denial they go to the client.
	Headers         []Header
	RemoveHeaders   []string // from the request, before the upstream
	ResponseHeaders []Header // to the client, on an allow
	SetQuery        []Header
	RemoveQuery     []string
	Status          int     // of a denial; 0: the reason's own
	Body            *string // of a denial; nil: the reason's own
	Metadata        map[string]any

	// Lookup is what a cache of decisions had to do with it. It has no part in
	// the answer.
	Lookup jwtverify.Lookup

	// Err says why Reason is PolicyError. It is for logs: the client is told
	// nothing of it.
	Err error
}

// Header is a name and a value.
type Header = httpfield.Field

// Bounds on what a policy may say: Envoy refuses larger answers with a 500 of
// its own, which no log of ours would explain.
const (
	maxHeaders     = 100
	maxHeaderValue = 16 << 10
	maxBody        = 64 << 10
	maxDetail      = 1 << 10
	maxReason      = 64

	// Envoy reads answers of 100 nested messages at most, and an object takes
	// three of them. An answer that it can't read is an error to it, which
	// failure_mode_allow opens, even where it was a denial.
	maxMetadataDepth = 16
	maxMetadata      = 64 << 10 // bytes, about
)

// fault is the denial of a policy that failed.
func fault(err error) Decision { return Decision{Reason: answers.PolicyError, Err: err} }

var errUndefined = errors.New("the entrypoint is undefined for this input: give it a default value")

// readDecision reads an entrypoint's value: a boolean, or an object in the form
// of opa-envoy-plugin. Anything else is a fault, and so is an unknown key: a
// misspelt "alowed" must not be silence.
func readDecision(value ast.Value) Decision {
	switch v := value.(type) {
	case nil:
		return fault(errUndefined)
	case ast.Boolean:
		if bool(v) {
			return Decision{Allowed: true, Reason: answers.Allowed}
		}
		return Decision{Reason: answers.PolicyDenied}
	case ast.Object:
		d, err := readObject(v)
		if err != nil {
			return fault(err)
		}
		return d
	default:
		return fault(fmt.Errorf("the entrypoint's value is %s, not a boolean or an object", ast.ValueName(value)))
	}
}

func readObject(object ast.Object) (Decision, error) {
	var d Decision
	var hasAllowed bool
	err := object.Iter(func(key, value *ast.Term) error {
		name, ok := key.Value.(ast.String)
		if !ok {
			return fmt.Errorf("the result has a key that is no string: %v", key)
		}
		if name == "allowed" {
			allowed, ok := value.Value.(ast.Boolean)
			d.Allowed, hasAllowed = bool(allowed), ok
			return expect(ok, "allowed", "a boolean", value.Value)
		}
		return d.readKey(string(name), value.Value)
	})
	if err != nil {
		return Decision{}, err
	}
	if !hasAllowed {
		return Decision{}, errors.New(`the result has no key "allowed"`)
	}
	return d.settle()
}

// readKey reads one key other than allowed.
func (d *Decision) readKey(name string, value ast.Value) (err error) {
	switch name {
	case "reason":
		var reason string
		reason, err = readString(name, value, maxReason)
		d.Reason = answers.Reason(reason)
	case "detail":
		d.Detail, err = readString(name, value, maxDetail)
	case "headers":
		d.Headers, err = readHeaders(name, value)
	case "response_headers_to_add":
		d.ResponseHeaders, err = readHeaders(name, value)
	case "request_headers_to_remove":
		d.RemoveHeaders, err = readNames(name, value)
	case "query_parameters_to_set":
		d.SetQuery, err = readPairs(name, value)
	case "query_parameters_to_remove":
		d.RemoveQuery, err = readNames(name, value)
	case "body":
		var body string
		body, err = readString(name, value, maxBody)
		d.Body = &body
	case "http_status":
		d.Status, err = readStatus(value)
	case "dynamic_metadata":
		d.Metadata, err = readMetadata(value)
	default:
		err = fmt.Errorf("the result has the unknown key %q", name)
	}
	return err
}

// settle checks what only the whole result can tell.
func (d Decision) settle() (Decision, error) {
	switch {
	case d.Allowed:
		d.Reason = answers.Allowed
	case d.Reason == "" || d.Reason == answers.Allowed:
		d.Reason = answers.PolicyDenied
	case !isReason(string(d.Reason)):
		return Decision{}, fmt.Errorf("reason %q is not made of a-z, 0-9 and _", d.Reason)
	}
	return d, nil
}

func isReason(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

func expect(ok bool, name, want string, got ast.Value) error {
	if ok {
		return nil
	}
	return fmt.Errorf("the result's %s is %s, not %s", name, ast.ValueName(got), want)
}

func readString(name string, value ast.Value, most int) (string, error) {
	s, ok := value.(ast.String)
	if !ok {
		return "", expect(false, name, "a string", value)
	}
	if len(s) > most {
		return "", fmt.Errorf("the result's %s has %d bytes, more than %d", name, len(s), most)
	}
	return string(s), expectUTF8(name, string(s))
}

// expectUTF8 refuses what base64.decode and the like can make of a string:
// protobuf can't carry it, and an answer that can't be written is a gRPC error.
func expectUTF8(name, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("the result's %s is not UTF-8", name)
	}
	return nil
}

func readStatus(value ast.Value) (int, error) {
	number, ok := value.(ast.Number)
	if !ok {
		return 0, expect(false, "http_status", "a number", value)
	}
	status, _ := number.Int() // no status where it is no integer
	// Envoy sends any number as it is; a client would choke on 42.
	if status < 200 || http.StatusText(status) == "" {
		return 0, fmt.Errorf("the result's http_status %v is no status of a final answer", number)
	}
	return status, nil
}

// readHeaders reads an object of strings or lists of strings, or an array of
// such objects. Names are lower-cased and checked: Envoy lets an empty name and,
// in denials, a line break through.
func readHeaders(name string, value ast.Value) ([]Header, error) {
	headers, err := readPairs(name, value)
	if err != nil {
		return nil, err
	}
	for i, h := range headers {
		headers[i].Name = strings.ToLower(h.Name)
		switch {
		case !httpguts.ValidHeaderFieldName(h.Name) || !settable(headers[i].Name):
			return nil, fmt.Errorf("the result's %s names %q, which a policy can't set", name, h.Name)
		case !httpguts.ValidHeaderFieldValue(h.Value) || len(h.Value) > maxHeaderValue:
			return nil, fmt.Errorf("the result's %s has a value for %q that no header can carry", name, h.Name)
		}
	}
	return headers, nil
}

// settable tells whether a policy may set or remove a header: not those that
// frame the message, name the host, or steer Envoy.
func settable(name string) bool {
	switch name {
	case "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive":
		return false
	}
	return !strings.HasPrefix(name, ":") && !strings.HasPrefix(name, "x-envoy-") && !strings.HasPrefix(name, "proxy-")
}

func readPairs(name string, value ast.Value) ([]Header, error) {
	var pairs []Header
	add := func(object ast.Object) error {
		return object.Iter(func(key, value *ast.Term) error {
			k, ok := key.Value.(ast.String)
			if !ok {
				return fmt.Errorf("the result's %s has a key that is no string", name)
			}
			values, err := readStrings(name, value.Value)
			err = errors.Join(err, expectUTF8(name, string(k)))
			for _, v := range values {
				pairs = append(pairs, Header{Name: string(k), Value: v})
			}
			return err
		})
	}
	var err error
	switch v := value.(type) {
	case ast.Object:
		err = add(v)
	case *ast.Array:
		err = v.Iter(func(item *ast.Term) error {
			object, ok := item.Value.(ast.Object)
			if !ok {
				return expect(false, name, "a list of objects", item.Value)
			}
			return add(object)
		})
	default:
		err = expect(false, name, "an object", value)
	}
	if err == nil && len(pairs) > maxHeaders {
		err = fmt.Errorf("the result's %s has more than %d entries", name, maxHeaders)
	}
	return pairs, err
}

// readStrings reads a string or a list of strings.
func readStrings(name string, value ast.Value) ([]string, error) {
	if s, ok := value.(ast.String); ok {
		return []string{string(s)}, expectUTF8(name, string(s))
	}
	var list []string
	item := func(t *ast.Term) error {
		s, ok := t.Value.(ast.String)
		list = append(list, string(s))
		return errors.Join(expect(ok, name, "strings", t.Value), expectUTF8(name, string(s)))
	}
	switch v := value.(type) {
	case *ast.Array:
		err := v.Iter(item)
		return list, err
	case ast.Set:
		err := v.Iter(item)
		return list, err
	}
	return nil, expect(false, name, "a string or a list of strings", value)
}

func readNames(name string, value ast.Value) ([]string, error) {
	names, err := readStrings(name, value)
	if err != nil || name != "request_headers_to_remove" {
		return names, err
	}
	for i, n := range names {
		names[i] = strings.ToLower(n)
		if !httpguts.ValidHeaderFieldName(n) || !settable(names[i]) {
			return nil, fmt.Errorf("the result's %s names %q, which a policy can't remove", name, n)
		}
	}
	return slices.Compact(names), nil
}

func readMetadata(value ast.Value) (map[string]any, error) {
	if _, ok := value.(ast.Object); !ok {
		return nil, expect(false, "dynamic_metadata", "an object", value)
	}
	native, err := ast.JSON(value)
	metadata, _ := native.(map[string]any) // keys that are no strings become their text
	room := maxMetadata
	_, tooMuch := plainNumbers(metadata, maxMetadataDepth, &room)
	return metadata, errors.Join(err, tooMuch)
}

// plainNumbers turns json.Number into float64, the only number of a
// protobuf Struct. It ends where depth or room do.
func plainNumbers(v any, depth int, room *int) (_ any, err error) {
	const perValue = 8
	*room -= perValue
	if text, ok := v.(string); ok {
		*room -= len(text)
	}
	switch {
	case *room < 0:
		return nil, fmt.Errorf("the result's dynamic_metadata has more than %d bytes", maxMetadata)
	case depth < 0:
		return nil, fmt.Errorf("the result's dynamic_metadata is nested more than %d levels deep", maxMetadataDepth)
	}
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			*room -= len(v)
			return v.String(), nil
		}
		return f, nil
	case map[string]any:
		for k, e := range v {
			*room -= len(k)
			if v[k], err = plainNumbers(e, depth-1, room); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, e := range v {
			if v[i], err = plainNumbers(e, depth-1, room); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
