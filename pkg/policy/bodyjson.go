package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// maxBodyDepth is how deep objects and lists of a JSON body nest in each other.
// Servers allow between 64 (ASP.NET) and 10,000 (Go); honest documents have a
// dozen.
const maxBodyDepth = 256

// jsonReader reads JSON into OPA's terms, in one pass. It refuses all that two
// servers read differently (RFC 8259 leaves it open): a name twice in one object,
// bytes that are no UTF-8, half a surrogate pair. And what OPA takes long for:
// see collide.go.
type jsonReader struct {
	texts textSet // of all documents that become one term
	names int     // of one object at most
	exact bool    // the upstream reads something else than this JSON: its names may differ by case

	decoder  *jsontext.Decoder
	unquoted []byte
}

var (
	errDepth   = fmt.Errorf("more than %d levels", maxBodyDepth)
	errRepeats = errors.New("a name stands twice in one object")
	errCases   = errors.New("two names of one object differ by case alone")
	errNUL     = errors.New("a name has a NUL")
	errMore    = errors.New("something follows the document")
)

// read reads one document.
func (r *jsonReader) read(text []byte) (*ast.Term, error) {
	// Names are compared below, where they are looked up anyhow.
	r.decoder = jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
	term, err := r.value(0)
	if err != nil {
		return nil, err
	}
	switch _, err := r.decoder.ReadToken(); {
	case err == io.EOF:
		return term, nil
	case err != nil:
		return nil, err
	}
	return nil, errMore
}

func (r *jsonReader) value(depth int) (*ast.Term, error) {
	switch r.decoder.PeekKind() {
	case '"':
		return r.text()
	case '0':
		return r.number()
	}
	token, err := r.decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return r.object(depth + 1)
	case '[':
		return r.list(depth + 1)
	case 'n':
		return ast.InternedNullTerm, nil
	}
	return ast.InternedTerm(token.Bool()), nil
}

func (r *jsonReader) text() (*ast.Term, error) {
	quoted, err := r.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		if text, err = jsontext.AppendUnquote(r.unquoted[:0], quoted); err != nil {
			return nil, err
		}
		r.unquoted = text
	}
	return r.texts.term(text)
}

func (r *jsonReader) number() (*ast.Term, error) {
	raw, err := r.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	text := string(raw)
	if term := ast.InternedIntNumberTermFromString(text); term != nil {
		return term, nil
	}
	return ast.NewTerm(ast.Number(text)), checkNumber(text)
}

func (r *jsonReader) list(depth int) (*ast.Term, error) {
	if depth > maxBodyDepth {
		return nil, errDepth
	}
	var elements []*ast.Term
	for r.decoder.PeekKind() != ']' {
		element, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := r.decoder.ReadToken()
	return ast.ArrayTerm(elements...), err
}

func (r *jsonReader) object(depth int) (*ast.Term, error) {
	if depth > maxBodyDepth {
		return nil, errDepth
	}
	var members [][2]*ast.Term
	for r.decoder.PeekKind() != '}' {
		name, err := r.text()
		if err != nil {
			return nil, err
		}
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		if members = append(members, [2]*ast.Term{name, value}); len(members) > r.names {
			return nil, fmt.Errorf("an object with more than %d names (limits.max_object_names)", r.names)
		}
	}
	_, _ = r.decoder.ReadToken() // the brace; an error would come again, at the end of the document
	return r.members(members)
}

// members makes an object, unless two of its names are one.
func (r *jsonReader) members(members [][2]*ast.Term) (*ast.Term, error) {
	if !r.exact {
		if err := checkNames(members); err != nil {
			return nil, err
		}
	}
	object := ast.NewObjectWithCapacity(len(members))
	for i, m := range members {
		// To replace a member costs the time of the whole object: once, not more.
		if object.Insert(m[0], m[1]); object.Len() == i {
			return nil, errRepeats
		}
	}
	return ast.NewTerm(object), nil
}

// checkNames refuses an object that some servers read otherwise than others: Go
// and ASP.NET take "Role" for role, and what was written last counts.
func checkNames(members [][2]*ast.Term) error {
	folded := true
	for _, m := range members {
		name := textOf(m[0])
		if strings.IndexByte(name, 0) >= 0 {
			return errNUL
		}
		folded = folded && isFolded(name)
	}
	switch {
	case folded:
		return nil
	case len(members) <= 16: // as nearly all objects
		return checkFewNames(members)
	}
	names := make(map[string]string, len(members))
	for _, m := range members {
		name := textOf(m[0])
		f := fold(name)
		if other, ok := names[f]; ok && other != name {
			return errCases
		}
		names[f] = name
	}
	return nil
}

func checkFewNames(members [][2]*ast.Term) error {
	for i := range members {
		for j := range i {
			if a, b := textOf(members[i][0]), textOf(members[j][0]); a != b && strings.EqualFold(a, b) {
				return errCases
			}
		}
	}
	return nil
}

func textOf(term *ast.Term) string {
	text, _ := term.Value.(ast.String)
	return string(text)
}

// isFolded tells whether fold leaves a text as it is.
func isFolded(s string) bool {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// fold maps texts that are equal but for case to one text, by Unicode's simple
// folding, as encoding/json does: ſ is an s and the Kelvin sign a k.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		if r < utf8.RuneSelf {
			return r
		}
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		if 'A' <= least && least <= 'Z' {
			return least + 'a' - 'A'
		}
		return least
	}, s)
}
