package jwtverify

import (
	stdjson "encoding/json"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxClaimsDepth bounds the nesting of claims; the claims object is level 1.
const maxClaimsDepth = 32

// claimTree is a claims set as it was signed: map[string]any, []any, string,
// encoding/json.Number, bool and nil.
type claimTree map[string]any

// parseClaims decodes a verified payload strictly: one JSON object, no
// duplicate member at any depth, valid UTF-8 without lone surrogates, at most
// 32 levels. Names keep their case, so that Exp is not exp. The errors wrap
// ErrMalformed.
func parseClaims(payload []byte) (claimTree, error) {
	var t claimTree
	if err := json.Unmarshal(payload, &t); err != nil {
		return nil, fmt.Errorf("%w: claims: %s", ErrMalformed, tokenFault(err))
	}
	return t, nil
}

// UnmarshalJSONFrom reads the top level, which must be an object.
func (t *claimTree) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		// A syntax error, or some other type: a nested token, for one.
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		return fault("not a JSON object")
	}
	m, err := readObject(d, 1)
	*t = m
	return err
}

func readObject(d *jsontext.Decoder, depth int) (map[string]any, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	room := 0
	if depth == 1 {
		room = 14 // most access tokens: no growing while they are read, and two groups of a map
	}
	m := make(map[string]any, room)
	for d.PeekKind() != '}' {
		key, err := readName(d)
		if err != nil {
			return nil, err
		}
		if m[key], err = readValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return m, err
}

// commonNames are the claims' names that most tokens have: a cache of many
// tokens holds each of them once.
var commonNames = func() map[string]string {
	names := map[string]string{}
	for _, name := range strings.Fields(`iss sub aud exp nbf iat jti azp acr amr scope scopes roles client_id sid
		user_id tenant_id workspace_id session_id token_type email email_verified name`) {
		names[name] = name
	}
	return names
}()

// readName reads the name of a member.
func readName(d *jsontext.Decoder) (string, error) {
	quoted, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	if common, ok := commonNames[string(quoted[1:len(quoted)-1])]; ok { // none has what JSON escapes
		return common, nil
	}
	name, err := jsontext.AppendUnquote(nil, quoted)
	return string(name), err
}

func readArray(d *jsontext.Decoder, depth int) ([]any, error) {
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	list := []any{}
	for d.PeekKind() != ']' {
		v, err := readValue(d, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.ReadToken()
	return list, err
}

func readValue(d *jsontext.Decoder, depth int) (any, error) {
	kind := d.PeekKind()
	if (kind == '{' || kind == '[') && depth == maxClaimsDepth {
		return nil, fault("nested too deeply")
	}
	switch kind {
	case '{':
		return readObject(d, depth+1)
	case '[':
		return readArray(d, depth+1)
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '"':
		return t.String(), nil
	case '0':
		return stdjson.Number(t.String()), nil // every digit: 2^53+1 is an id somewhere
	case 't', 'f':
		return t.Bool(), nil
	}
	return nil, nil
}
