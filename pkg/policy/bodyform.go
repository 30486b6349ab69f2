package policy

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A form is read into lists of values, name by name. Servers read forms in more
// ways than any other body: some take name[] for name, cut a name at a NUL, or
// take its spaces away. A form that has a name in two such spellings is refused,
// and so is a name that no honest form has.

var (
	errFormText    = errors.New("text that is no UTF-8")
	errFormName    = errors.New("a name that is empty, or with a space at its end, or with a control character")
	errFormStart   = errors.New("it begins with a question mark or a byte order mark")
	errFormCharset = errors.New("its _charset_ is another one than UTF-8")
	errSpellings   = errors.New("two spellings of one name, as role and role[]")
)

// form is what a form holds.
type form struct {
	groups[*ast.Term]

	reader  jsonReader // of its parts, and of all texts
	most    int        // names
	nesting map[string]string
}

func newForm(b *bounds) *form {
	return &form{groups: newGroups[*ast.Term](8), reader: jsonReader{names: b.objectNames}, most: b.queryNames}
}

// addText adds a value that must be text.
func (f *form) addText(name, value string) error {
	if !utf8.ValidString(value) {
		return errFormText
	}
	if name == "_charset_" && !plainCharset(strings.ToLower(value)) {
		return errFormCharset
	}
	term, err := f.reader.texts.of(value)
	if err != nil {
		return err
	}
	return f.add(name, term)
}

func (f *form) add(name string, value *ast.Term) error {
	if !f.has(name) {
		if err := f.checkName(name); err != nil {
			return err
		}
		if len(f.names) == f.most {
			return errNames(f.most)
		}
	}
	f.groups.add(name, value)
	return nil
}

func (f *form) checkName(name string) error {
	if !utf8.ValidString(name) {
		return errFormText
	}
	if strings.TrimSpace(name) != name || name == "" || strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return errFormName
	}
	return f.nest(name)
}

// nest refuses a name that a server which reads brackets as nesting (PHP, Rack,
// qs, which is Express's) would put in the place of another one: role beside
// role[], role[x] or [role], and role[] beside role[x]. Case makes no other name.
// Nor do dots for brackets (ASP.NET, Spring, qs), a bracket that has no other one
// (Rack), and what PHP makes an underscore: a dot, a space, an open bracket.
func (f *form) nest(name string) error {
	if f.nesting == nil {
		f.nesting = map[string]string{}
	}
	folded := fold(name)
	steps := nestingOf(folded)
	words := strings.FieldsFunc(folded, func(r rune) bool { return strings.ContainsRune("[].", r) })
	ok := f.place("."+strings.Join(words, "."), name)
	steps[0] = underscores.Replace(steps[0])
	if len(steps) == 2 && strings.HasPrefix(steps[1], "[") {
		ok = ok && f.place("\x00"+steps[0]+"_"+steps[1][1:], name)
	}
	path := ""
	for i, step := range steps {
		path += "\x00" + step
		kind := name // a value: of one spelling
		switch {
		case i+1 < len(steps) && steps[i+1] == "":
			kind = "\x00list"
		case i+1 < len(steps):
			kind = "\x00object"
		}
		ok = ok && f.place(path, kind)
	}
	if !ok {
		return errSpellings
	}
	return nil
}

// place reports whether nothing else is in a place.
func (f *form) place(path, kind string) bool {
	if other, taken := f.nesting[path]; taken {
		return other == kind
	}
	f.nesting[path] = kind
	return true
}

var underscores = strings.NewReplacer(".", "_", " ", "_")

// nestingOf takes a[b][] apart into a, b and "".
func nestingOf(name string) []string {
	i := strings.IndexByte(name, '[')
	if i < 0 {
		return []string{name}
	}
	var steps []string
	if i > 0 {
		steps = append(steps, name[:i])
	}
	// Servers bound the levels (qs: 5, PHP: 64), and take the rest as one name.
	for rest := name[i:]; rest != ""; {
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 || len(steps) == maxNesting {
			return append(steps, rest)
		}
		steps = append(steps, rest[1:end])
		rest = rest[end+1:]
	}
	return steps
}

const maxNesting = 8

func (f *form) term() (*ast.Term, error) { return f.groups.term(&f.reader.texts, listOf) }

// urlencoded reads application/x-www-form-urlencoded.
func urlencoded(body []byte, b *bounds) (*ast.Term, error) {
	// URLSearchParams passes over the one, readers of text over the other.
	if body[0] == '?' || bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return nil, errFormStart
	}
	if !utf8.Valid(body) { // half a character beside the escape of its other half
		return nil, errFormText
	}
	f := newForm(b)
	for rest := string(body); rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		// Some servers separate pairs by it. Browsers escape it.
		if strings.IndexByte(pair, ';') >= 0 {
			return nil, errors.New("a semicolon that is not escaped")
		}
		name, value, _ := strings.Cut(pair, "=")
		if strings.Contains(value, "]=") || strings.Contains(strings.ToUpper(value), "%5D=") { // where qs ends the name
			return nil, errSpellings
		}
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, err
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, err
		}
		if err := f.addText(name, value); err != nil {
			return nil, err
		}
	}
	return f.term()
}
