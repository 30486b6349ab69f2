package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
)

// Body is the part of a request's body that Envoy sent along.
type Body struct {
	ContentType     string // the header's value; of several lines, all, with commas
	ContentLength   string // the same
	ContentEncoding string // the same
	Partial         bool   // Envoy says that it cut the body
	Upgrade         bool   // the request asks for another protocol: Envoy does not wait for a body
	Text            bool   // Envoy sent it as text, where each byte that is no UTF-8 is "!"
	Bytes           []byte
}

// The types that have a reading.
const (
	jsonType      = "application/json"
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data"
	grpcType      = "application/grpc"
)

var (
	errLength   = errors.New("its length is none, or less than arrived")
	errTwoTypes = errors.New("its content type names two types that are read differently")
	errCharset  = errors.New("its charset is another one than UTF-8")
	errPacked   = errors.New("it is compressed")
)

// truncated tells whether the policy would see less than the upstream. A length
// that is none, or that more arrived than, is an error: the upstream may read
// another body.
func (b *Body) truncated() (bool, error) {
	arrived := uint64(len(b.Bytes))
	cut := b.Partial || b.Upgrade
	for text := range strings.SplitSeq(b.ContentLength, ",") {
		if b.ContentLength == "" {
			break
		}
		length, err := strconv.ParseUint(strings.Trim(text, " \t"), 10, 64)
		if err != nil || length < arrived {
			return false, errLength
		}
		cut = cut || length > arrived
	}
	return cut, nil
}

// kindOf is the type of ours that the content type names, "" for another one. A
// type is looked for anywhere and in any case, not parsed: of a header that is
// malformed or holds two types the upstream may believe any part, and a policy
// must not see nothing where the upstream sees a document, nor another one:
// {"a&role=admin&b": 1} is a form too. No gRPC message is.
func kindOf(contentType string) (kind string, err error) {
	for _, k := range []string{jsonType, formType, multipartType} {
		switch {
		case !strings.Contains(contentType, k):
		case kind != "":
			return "", errTwoTypes
		default:
			kind = k
		}
	}
	if kind == "" && strings.Contains(contentType, grpcType) {
		kind = grpcType
	}
	return kind, nil
}

// term reads the body into input.parsed_body: JSON, a form, or a multipart
// form, and the message of a gRPC request to a method that is known. Another
// type, an empty or a truncated body is null: a policy that reads half a
// document would decide on what the client chose to put first. A body that is
// not what its type says, or that servers read differently, is an error.
func (b *Body) term(methods *grpcbody.Methods, segments []string, bounds *bounds) (value *ast.Term, truncated bool, err error) {
	if truncated, err = b.truncated(); truncated || err != nil || len(b.Bytes) == 0 {
		return ast.InternedNullTerm, truncated, err
	}
	contentType := strings.ToLower(b.ContentType)
	kind, err := kindOf(contentType)
	switch {
	case kind == "": // an error has none either
		return ast.InternedNullTerm, false, err
	case b.ContentEncoding != "" && !strings.EqualFold(b.ContentEncoding, "identity"):
		return nil, false, errPacked
	case !plainCharsets(contentType, b.Bytes):
		return nil, false, errCharset
	}
	switch kind {
	case jsonType:
		value, err = (&jsonReader{names: bounds.objectNames}).read(b.Bytes)
	case formType:
		value, err = urlencoded(b.Bytes, bounds)
	case multipartType:
		var boundary string
		if boundary, err = boundaryOf(b.ContentType); boundary == "" {
			return ast.InternedNullTerm, false, err
		}
		value, err = multipartForm(b.Bytes, boundary, bounds)
	case grpcType:
		return b.messageTerm(methods, segments, bounds)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", kind, err)
	}
	return value, false, nil
}

// messageTerm reads a gRPC request's message. Text is none: what Envoy replaced
// in it would be another message than the upstream's.
func (b *Body) messageTerm(methods *grpcbody.Methods, segments []string, bounds *bounds) (*ast.Term, bool, error) {
	if b.Text {
		return ast.InternedNullTerm, false, nil
	}
	text, truncated, err := methods.JSON(strings.Join(segments, "/"), b.Bytes)
	if err != nil {
		return nil, false, fmt.Errorf("gRPC: %w", err)
	}
	if text == nil {
		return ast.InternedNullTerm, truncated, nil
	}
	value, err := (&jsonReader{names: bounds.objectNames, exact: true}).read(text)
	if err != nil {
		return nil, false, fmt.Errorf("gRPC: %w", err)
	}
	return value, false, nil
}

// plainCharsets tells whether a text of this content type, in lower case, means
// what it means in UTF-8. The attack: servers decode {"a": "+ACI-,..."} by
// charset=utf-7, and see a member that nobody else sees.
func plainCharsets(contentType string, text []byte) bool {
	for rest := contentType; ; {
		var found bool
		if _, rest, found = strings.Cut(rest, "charset"); !found {
			return true
		}
		value, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "=")
		if !ok {
			return false
		}
		value = strings.TrimLeft(value, " \t\"'")
		if end := strings.IndexAny(value, " \t\"';,"); end >= 0 {
			value = value[:end]
		}
		if !plainCharset(value) && !(westernCharset(value) && plainText(text)) {
			return false
		}
	}
}

func plainCharset(name string) bool {
	return name == "utf-8" || name == "utf8" || name == "us-ascii" || name == "ascii"
}

func westernCharset(name string) bool {
	return name == "iso-8859-1" || name == "iso-8859-15" || name == "latin1" || name == "windows-1252"
}

// plainText tells whether a text is ASCII, as it is and with its escapes decoded.
func plainText(text []byte) bool {
	for i, c := range text {
		if c >= utf8.RuneSelf || c == '%' && i+1 < len(text) && bytes.IndexByte([]byte("01234567"), text[i+1]) < 0 {
			return false
		}
	}
	return true
}
