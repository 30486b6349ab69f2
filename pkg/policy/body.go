package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
)

// Body is the part of a request's body that Envoy sent along.
type Body struct {
	ContentType   string // the header's value
	ContentLength string // the header's value, "" where there is none
	Partial       bool   // Envoy says that it cut the body
	Text          bool   // Envoy sent it as text, where each byte that is no UTF-8 is "!"
	Bytes         []byte
}

// truncated tells whether the policy would see less than the upstream.
func (b Body) truncated() bool {
	length, err := strconv.ParseInt(b.ContentLength, 10, 64)
	return b.Partial || err == nil && length > int64(len(b.Bytes))
}

// term reads the body into input.parsed_body: JSON, a form, or a multipart
// form, and the message of a gRPC request to a method that is known. Another
// type, an empty or a truncated body is null: a policy that reads half a
// document would decide on what the client chose to put first. A body that is
// not what its type says is an error.
func (b Body) term(methods *grpcbody.Methods, segments []string) (value *ast.Term, truncated bool, err error) {
	if len(b.Bytes) == 0 {
		return ast.NullTerm(), b.Partial, nil
	}
	if b.truncated() {
		return ast.NullTerm(), true, nil
	}
	// A type is looked for anywhere and in any case, not parsed: of a header
	// that is malformed or holds two types the upstream may believe any part,
	// and a policy must not see nothing where the upstream sees a document.
	switch kind := strings.ToLower(b.ContentType); {
	case strings.Contains(kind, "application/json"):
		v, err := readJSON(b.Bytes)
		if err != nil {
			return nil, false, fmt.Errorf("%w: JSON: %w", errBody, err)
		}
		return native(v)
	case strings.Contains(kind, "application/x-www-form-urlencoded"):
		form, err := url.ParseQuery(string(b.Bytes))
		if err != nil {
			return nil, false, fmt.Errorf("%w: form: %w", errBody, err)
		}
		return native(form)
	case strings.Contains(kind, "multipart/form-data"):
		_, params, err := mime.ParseMediaType(b.ContentType)
		if err != nil {
			return nil, false, fmt.Errorf("%w: multipart: %w", errBody, err)
		}
		return multipartTerm(b.Bytes, params["boundary"])
	case strings.Contains(kind, "application/grpc"):
		return b.messageTerm(methods, segments)
	}
	return ast.NullTerm(), false, nil
}

// messageTerm reads a gRPC request's message. Text is none: what Envoy replaced
// in it would be another message than the upstream's.
func (b Body) messageTerm(methods *grpcbody.Methods, segments []string) (*ast.Term, bool, error) {
	if b.Text {
		return ast.NullTerm(), false, nil
	}
	text, truncated, err := methods.JSON(strings.Join(segments, "/"), b.Bytes)
	if err != nil {
		return nil, false, fmt.Errorf("%w: gRPC: %w", errBody, err)
	}
	if text == nil {
		return ast.NullTerm(), truncated, nil
	}
	v, err := readJSON(text)
	if err != nil {
		return nil, false, fmt.Errorf("%w: gRPC: %w", errBody, err)
	}
	return native(v)
}

// errBody: the client sent something else than it said.
var errBody = errors.New("reading the body")

// readJSON keeps every digit of a number, and takes one document alone.
func readJSON(text []byte) (v any, err error) {
	if err := util.UnmarshalJSON(text, &v); err != nil {
		return nil, err
	}
	return v, screen(v)
}

func native(v any) (*ast.Term, bool, error) {
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", errBody, err) // an exponent that is too large
	}
	return ast.NewTerm(value), false, nil
}

// multipartTerm reads a form of parts: name to the list of its values, JSON
// parts parsed and all others as text.
func multipartTerm(body []byte, boundary string) (*ast.Term, bool, error) {
	form := map[string][]any{}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return native(form)
		}
		if err != nil {
			return nil, false, fmt.Errorf("%w: multipart: %w", errBody, err)
		}
		data, err := io.ReadAll(part) // bounded by the body, which is bounded
		if err != nil {
			return nil, false, fmt.Errorf("%w: multipart: %w", errBody, err)
		}
		name := part.FormName()
		if name == "" {
			continue
		}
		if strings.Contains(strings.ToLower(part.Header.Get("Content-Type")), "application/json") {
			v, err := readJSON(data)
			if err != nil {
				return nil, false, fmt.Errorf("%w: the JSON part %.64q: %w", errBody, name, err)
			}
			form[name] = append(form[name], v)
			continue
		}
		form[name] = append(form[name], string(data))
	}
}
