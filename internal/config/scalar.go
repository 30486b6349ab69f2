package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Size is a number of bytes, written with its unit: 64MiB.
type Size int64

// The units of a Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	switch {
	case s == 0:
		return "0"
	case s%GiB == 0:
		return strconv.FormatInt(int64(s/GiB), 10) + "GiB"
	case s%MiB == 0:
		return strconv.FormatInt(int64(s/MiB), 10) + "MiB"
	case s%KiB == 0:
		return strconv.FormatInt(int64(s/KiB), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalYAML writes the size as the file has it.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// parser turns the text of the scalar at n into a field's value. What comes out
// of a variable (expanded) counts as plain, in quotes or not. Its error says
// what to write; it repeats no value that came out of a variable.
type parser func(text string, n *yaml.Node, expanded bool, v reflect.Value) error

var (
	durationType   = reflect.TypeFor[time.Duration]()
	sizeType       = reflect.TypeFor[Size]()
	secretType     = reflect.TypeFor[tenants.Secret]()
	stringListType = reflect.TypeFor[tenants.StringList]()
)

func acceptsScalar(t reflect.Type) bool { return t == stringListType }

func scalarParser(t reflect.Type) (parser, bool) {
	switch t {
	case durationType:
		return parseDuration, true
	case sizeType:
		return parseSize, true
	case secretType:
		return parseSecret, true
	}
	switch t.Kind() {
	case reflect.String:
		return parseString, true
	case reflect.Bool:
		return parseBool, true
	case reflect.Int:
		return parseInt, true
	case reflect.Float64:
		return parseShare, true
	}
	return nil, false
}

// scalar decodes a string, a number, a boolean, a duration or a size.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, p *path, parse parser) {
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, v, p, wanted(v.Type()))
		return
	}
	text, expanded, ok := d.expand(n, p)
	if !ok {
		return
	}
	if err := parse(text, n, expanded, v); err != nil {
		d.fail(n.Line, p, "is "+quoteValue(n, v.Type())+": "+err.Error())
	}
}

// expand returns the text of a scalar with its variables filled in.
func (d *decoder) expand(n *yaml.Node, p *path) (text string, expanded, ok bool) {
	text, problems := expand(n.Value, d.lookup)
	for _, problem := range problems {
		d.fail(n.Line, p, problem.Error())
	}
	return text, text != n.Value, len(problems) == 0
}

// wrong reports a node of the wrong kind.
func (d *decoder) wrong(n *yaml.Node, v reflect.Value, p *path, want string) {
	d.fail(n.Line, p, "is "+quoteValue(n, v.Type())+": write "+want)
}

// wanted says what a scalar field takes.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration, like 10s"
	case t == sizeType:
		return "a size, like 64MiB"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number from 0 to 1"
	}
	return "one string"
}

// quoteValue describes the value at n. Only a short scalar is repeated, as it
// stands in the file (never what a variable held), and never key material.
func quoteValue(n *yaml.Node, t reflect.Type) string {
	const short = 40
	if n.Kind != yaml.ScalarNode || t == secretType || len(n.Value) > short || n.Value == "" {
		if n.Kind == yaml.ScalarNode && n.Value == "" {
			return "empty"
		}
		return kindOf(n)
	}
	if !quoted(n) && n.Tag != "!!str" {
		return oneLine(n.Value) // a number or a boolean
	}
	return strconv.Quote(n.Value)
}

func quoted(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

func parseString(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	switch {
	// What YAML 1.1 calls a date or a merge key is text to everyone else.
	case expanded || n.Tag == "!!str" || n.Tag == "!!timestamp" || n.Tag == "!!merge":
		v.SetString(text)
		return nil
	}
	return errors.New(kindOf(n) + ` where a string is expected; write it in quotes`)
}

func parseSecret(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	var plain string
	err := parseString(text, n, expanded, reflect.ValueOf(&plain).Elem())
	v.Set(reflect.ValueOf(tenants.NewSecret(plain)))
	return err
}

func parseBool(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	switch {
	case quoted(n) && !expanded:
		return errors.New("write true or false, without quotes")
	case text != "true" && text != "false":
		return errors.New("write true or false")
	}
	v.SetBool(text == "true")
	return nil
}

var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`)

func parseInt(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	switch {
	case quoted(n) && !expanded:
		return errors.New("write a whole number, without quotes")
	case !wholeNumber.MatchString(text):
		return errors.New("write a whole number, like 4096")
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v.OverflowInt(i) {
		return errors.New("write a smaller number")
	}
	v.SetInt(i)
	return nil
}

var share = regexp.MustCompile(`^(0|1|0?\.[0-9]{1,17})$`)

// parseShare reads the only decimals there are: parts of a whole.
func parseShare(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	switch {
	case quoted(n) && !expanded:
		return errors.New("write a number from 0 to 1, without quotes")
	case !share.MatchString(text):
		return errors.New("write a number from 0 to 1, like 0.25")
	}
	f, err := strconv.ParseFloat(text, 64)
	v.SetFloat(f)
	return err
}

var bareNumber = regexp.MustCompile(`^[0-9][0-9_.]*$`)

func parseDuration(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	length, err := time.ParseDuration(text)
	switch {
	case err != nil && bareNumber.MatchString(text) && !expanded && len(text) < 12:
		return fmt.Errorf("write the unit too: %ss, %sms or %sm", text, text, text)
	case err != nil && bareNumber.MatchString(text):
		return errors.New("write the unit too, like 10s")
	case err != nil:
		return errors.New("write a number with its unit, like 100ms, 10s, 5m or 24h")
	case length < 0:
		return errors.New("write a duration that is not negative")
	}
	v.SetInt(int64(length))
	return nil
}

var sizeText = regexp.MustCompile(`^([0-9]{1,18})(B|KiB|MiB|GiB)$`)

func parseSize(text string, n *yaml.Node, expanded bool, v reflect.Value) error {
	if text == "0" {
		v.SetInt(0)
		return nil
	}
	m := sizeText.FindStringSubmatch(text)
	switch {
	case m == nil && bareNumber.MatchString(text):
		return errors.New("write the unit too: B, KiB, MiB or GiB, like 64MiB")
	case m == nil:
		return errors.New("write a whole number with the unit B, KiB, MiB or GiB, like 64MiB")
	}
	count, err := strconv.ParseInt(m[1], 10, 64)
	unit := int64(map[string]Size{"B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB}[m[2]])
	if err != nil || count > math.MaxInt64/unit {
		return errors.New("write a smaller size")
	}
	v.SetInt(count * unit)
	return nil
}
