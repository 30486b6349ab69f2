package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the configuration file: 10,000 tenants are about 3 MiB.
const maxFile = 32 << 20

// parseYAML returns the root mapping of the one document in data. Of a file
// that is no YAML it can tell only the first fault.
func parseYAML(data []byte) (*yaml.Node, *FieldError) {
	if f := checkBytes(data); f != nil {
		return nil, f
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &FieldError{Line: 1, Problem: `is empty: write at least one tenant under "tenants:"`}
	case err != nil:
		return nil, syntaxError(data, err)
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, &FieldError{Line: second.Line, Problem: `holds a second document: write one, without "---" between its parts`}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(data, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, &FieldError{Line: 1, Problem: `is empty: write at least one tenant under "tenants:"`}
	}
	if root.Kind != yaml.MappingNode {
		return nil, &FieldError{Line: root.Line, Problem: fmt.Sprintf(`is %s: write sections like "listen:" and "tenants:"`, kindOf(root))}
	}
	return root, nil
}

// checkBytes refuses what YAML does not allow but some parsers read past, so
// that a person and a parser see the same file.
func checkBytes(data []byte) *FieldError {
	if len(data) > maxFile {
		return &FieldError{Problem: fmt.Sprintf("is larger than %d MiB", maxFile>>20)}
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return &FieldError{Line: lineAt(data, i), Problem: "holds a NUL byte: write the file as plain UTF-8 text"}
	}
	if utf8.Valid(data) {
		return nil
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return &FieldError{Line: lineAt(data, i), Problem: "holds bytes that are not UTF-8: write the file as plain UTF-8 text"}
		}
		i += size
	}
	return nil
}

func lineAt(data []byte, offset int) int {
	return 1 + bytes.Count(data[:offset], []byte{'\n'})
}

var (
	yamlErrorLine = regexp.MustCompile(`^yaml: line (\d+): `)
	yamlAnchor    = regexp.MustCompile(`^unknown anchor '([^']*)' referenced`)
	// The parser, unlike the scanner below it, counts its lines from zero.
	parserProblem = regexp.MustCompile(`^did not find expected (<document start>|node content|'-' indicator|key|',' or)`)
)

// syntaxError turns an error of the YAML library into a fault with a line: the
// library leaves the line out for the first one and for an unknown alias.
func syntaxError(data []byte, err error) *FieldError {
	text, line := err.Error(), 1
	if m := yamlErrorLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
		if parserProblem.MatchString(text) {
			line++
		}
	}
	text = strings.TrimPrefix(text, "yaml: ")
	if m := yamlAnchor.FindStringSubmatch(text); m != nil {
		if i := bytes.Index(data, []byte("*"+m[1])); i >= 0 {
			line = lineAt(data, i)
		}
	}
	hint := ""
	if bytes.Contains(data, []byte("{env:")) && strings.Contains(text, "',' or '}'") {
		hint = `; inside { } and [ ] write "${env:NAME}" in quotes`
	}
	return &FieldError{Line: line, Problem: "is not valid YAML at or after this line: " + oneLine(text) + hint}
}
