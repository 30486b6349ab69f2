package policy

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"golang.org/x/net/http/httpguts"
)

// Libraries read a multipart form in many ways: they differ about line ends,
// what may follow a boundary, folded and repeated headers, escapes in a name,
// encodings of a part. So this reader takes what browsers and HTTP libraries
// write, which all of them read alike (RFC 7578), and refuses the rest.

var (
	errBoundary    = errors.New("a boundary that servers find in different places")
	errDelimiter   = errors.New("the boundary stands elsewhere than between two parts")
	errPartHeader  = errors.New("a part's header that is folded, cut, repeated or malformed")
	errDisposition = errors.New("a part without a readable name: write Content-Disposition: form-data; name=\"…\" once")
	errEncoding    = errors.New("a part with a transfer encoding, a charset, or parts within it")
)

// boundaryOf returns "" for a type without a boundary: nobody reads such a body.
func boundaryOf(contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	// Some libraries search for the word, and read what follows it. The boundaries
	// of some browsers have it in them.
	word := func(s string) int { return strings.Count(strings.ToLower(s), "boundary") }
	switch words := word(contentType) - word(boundary); {
	case err == nil && media == "multipart/form-data" && words == 0:
		return "", nil
	case media != "multipart/form-data" || words != 1 || strings.ContainsAny(contentType, `*\\`) || !validBoundary(boundary): // an error leaves no boundary
		return "", errBoundary
	}
	return boundary, nil
}

// validBoundary is RFC 2046's grammar without the space, which some trim.
func validBoundary(s string) bool {
	return s != "" && len(s) <= 70 && strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("'()+_,-./:=?", r)
	}) < 0
}

// multipartForm reads multipart/form-data into the list of the values of each
// name: JSON parts parsed and all others as text.
func multipartForm(body []byte, boundary string, b *bounds) (*ast.Term, error) {
	delimiter := []byte("--" + boundary)
	parts := bytes.Split(body, delimiter)
	last := len(parts) - 1
	// Nothing before the first delimiter, and nothing but a line end after "--".
	if len(parts[0]) > 0 || string(parts[last]) != "--" && string(parts[last]) != "--\r\n" {
		return nil, errDelimiter
	}
	f := newForm(b)
	for _, part := range parts[1:last] {
		part, first := bytes.CutPrefix(part, []byte("\r\n"))
		part, end := bytes.CutSuffix(part, []byte("\r\n"))
		if !first || !end {
			return nil, errDelimiter
		}
		if err := f.addPart(part); err != nil {
			return nil, err
		}
	}
	return f.term()
}

func (f *form) addPart(part []byte) error {
	head, data, ok := bytes.Cut(part, []byte("\r\n\r\n"))
	if !ok {
		return errPartHeader
	}
	h, err := readPartHeader(string(head))
	if err != nil {
		return err
	}
	name, file, err := readDisposition(h["content-disposition"])
	if err != nil {
		return err
	}
	kind := strings.ToLower(h["content-type"])
	switch encoding := strings.ToLower(h["content-transfer-encoding"]); {
	case encoding != "" && encoding != "7bit" && encoding != "8bit" && encoding != "binary",
		strings.Contains(kind, "multipart/"), !plainCharsets(kind, data):
		return errEncoding
	case strings.Contains(kind, "application/json"):
		term, err := f.reader.read(data)
		if err != nil {
			return fmt.Errorf("the JSON part %.64q: %w", name, err)
		}
		return f.add(name, term)
	case file: // its bytes as they are
		term, err := f.reader.texts.term(data)
		if err != nil {
			return err
		}
		return f.add(name, term)
	}
	return f.addText(name, string(data))
}

// readPartHeader reads the header of a part, each name once.
func readPartHeader(head string) (map[string]string, error) {
	h := make(map[string]string, 2)
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(name)
		if _, twice := h[name]; twice || !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || !utf8.ValidString(value) {
			return nil, errPartHeader
		}
		h[name] = strings.Trim(value, " \t")
	}
	return h, nil
}

// readDisposition reads form-data; name="a"; filename="b", in this order or the
// other. Other parameters, and escapes and encoded words in these, are read
// differently by libraries.
func readDisposition(value string) (name string, file bool, err error) {
	kind, rest, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "form-data") || strings.ContainsAny(value, "\\\t") || strings.Contains(value, "=?") {
		return "", false, errDisposition
	}
	seen := map[string]bool{}
	for rest != "" {
		var key, text string
		var ok bool
		if key, text, rest, ok = cutParameter(rest); !ok || seen[key] {
			return "", false, errDisposition
		}
		seen[key] = true
		switch key {
		case "name":
			name = text
		case "filename", "filename*":
			file = true
		default:
			return "", false, errDisposition
		}
	}
	if name == "" {
		return "", false, errDisposition
	}
	return name, file, nil
}

// cutParameter takes ` key=token` or ` key="text"` from the beginning, with the
// semicolon behind it.
func cutParameter(s string) (key, text, rest string, ok bool) {
	key, rest, ok = strings.Cut(strings.TrimLeft(s, " "), "=")
	key = strings.ToLower(key)
	if quoted, isQuoted := strings.CutPrefix(rest, `"`); isQuoted {
		var after string
		text, after, ok = strings.Cut(quoted, `"`)
		rest = strings.TrimLeft(after, " ")
		if rest != "" && rest[0] != ';' {
			return "", "", "", false
		}
		return key, text, strings.TrimPrefix(rest, ";"), ok
	}
	text, rest, _ = strings.Cut(rest, ";")
	// As it is, so that a space or a quote within is no part of it.
	return key, text, rest, ok && (httpguts.ValidHeaderFieldName(text) || key == "filename*" && extended(text))
}

// extended tells whether a text has the form of RFC 8187: charset, language and
// value between single quotes.
func extended(text string) bool {
	return !strings.ContainsAny(text, ` "`) && strings.Count(text, "'") == 2
}
