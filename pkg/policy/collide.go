package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// OPA finds the members of its objects and sets by an xxhash without a seed, so
// anybody can compute texts that share one, and no two honest texts do. An
// object follows a list of all names that share a hash; a set tries the next
// hash, and the next, until one is free. So texts with equal hashes, and texts
// with hashes beside each other, make both take the square of their number, in
// one call that no time limit interrupts.
//
// What a client writes is therefore screened before OPA sees it.

const (
	// maxColliding is how many different texts of one document may share a hash,
	// or all but its last nearHashes bits. Among a million honest texts the chance
	// of a single pair is one in thirty; of so many it is nil.
	maxColliding = 16
	nearHashes   = 20 // a set with less than 2^20 texts never tries hashes farther away

	// fewTexts cost next to nothing if all of them collide.
	fewTexts = 64

	// maxNumber bounds the digits of a number. To compare one of a million digits
	// takes seconds, and no time limit of the evaluation interrupts it.
	maxNumber = 128
)

var errCollide = fmt.Errorf("more than %d texts share a hash", maxColliding)

// textSet is the different texts of one document. The zero value is ready for
// use.
type textSet struct {
	terms map[string]*ast.Term
	near  map[int]uint8 // how many texts have a hash beginning with these bits; nil while all together are too few
}

// add adds a text. The error is errCollide, at the text that is one too many:
// until then nothing has cost more than its share.
func (t *textSet) add(text string) error {
	_, err := t.of(text)
	return err
}

// of is the term of a text: one for all equal texts of the document. A nil set,
// for what is small, counts nothing.
func (t *textSet) of(text string) (*ast.Term, error) {
	if t == nil {
		return ast.StringTerm(text), nil
	}
	if term, ok := t.terms[text]; ok {
		return term, nil
	}
	return t.insert(text)
}

// term is of for a text that is still the request's.
func (t *textSet) term(text []byte) (*ast.Term, error) {
	if term, ok := t.terms[string(text)]; ok {
		return term, nil
	}
	return t.insert(string(text))
}

func (t *textSet) insert(text string) (*ast.Term, error) {
	if t.terms == nil {
		t.terms = map[string]*ast.Term{}
	}
	term := ast.StringTerm(text)
	t.terms[text] = term
	switch {
	case t.near != nil:
		return term, t.count(term)
	case len(t.terms) > fewTexts:
		t.near = make(map[int]uint8, 4*fewTexts)
		for _, term := range t.terms {
			if err := t.count(term); err != nil {
				return term, err
			}
		}
	}
	return term, nil
}

func (t *textSet) count(term *ast.Term) error {
	block := term.Value.Hash() >> nearHashes
	if t.near[block] == maxColliding {
		return errCollide
	}
	t.near[block]++
	return nil
}

// screen refuses a decoded document that OPA could take long for: with texts
// that collide, or a number that is none of float64's. It follows the document
// as deep as its decoder did.
func screen(document any) error {
	if n, err := checkNumbers(document); err != nil || n <= fewTexts {
		return err
	}
	var t textSet
	return t.screen(document)
}

// checkNumbers also counts the texts.
func checkNumbers(v any) (texts int, err error) {
	switch v := v.(type) {
	case string:
		return 1, nil
	case json.Number:
		return 0, checkNumber(string(v))
	case map[string]any:
		for _, member := range v {
			n, err := checkNumbers(member)
			if texts += 1 + n; err != nil {
				return texts, err
			}
		}
	case []any:
		for _, element := range v {
			n, err := checkNumbers(element)
			if texts += n; err != nil {
				return texts, err
			}
		}
	}
	return texts, nil
}

func (t *textSet) screen(v any) error {
	switch v := v.(type) {
	case string:
		return t.add(v)
	case map[string]any:
		for name, member := range v {
			if err := t.add(name); err != nil {
				return err
			}
			if err := t.screen(member); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range v {
			if err := t.screen(element); err != nil {
				return err
			}
		}
	}
	return nil
}

// screenValue is screen for a value of OPA's. An object or set was built by
// then: it is for what stays bounded while it is built, like the parts of a text
// or the elements of a list.
func screenValue(value ast.Value) error {
	var t textSet
	return t.screenValue(value)
}

func (t *textSet) screenValue(value ast.Value) (err error) {
	visit := func(term *ast.Term) (stop bool) {
		err = t.screenValue(term.Value)
		return err != nil
	}
	switch v := value.(type) {
	case ast.String:
		return t.add(string(v))
	case ast.Number:
		return checkNumber(string(v))
	case *ast.Array:
		v.Until(visit)
	case ast.Set:
		v.Until(visit)
	case ast.Object:
		v.Until(func(name, member *ast.Term) bool { return visit(name) || visit(member) })
	}
	return err
}

var errNumber = errors.New("a number that no float64 holds")

// checkNumber refuses a number that is longer than any needs, or that no
// float64 holds: larger than all, or so small that it would be zero. OPA
// computes with such a number digit by digit, for seconds; and nearly every
// server reads another one, infinity or zero.
func checkNumber(text string) error {
	if len(text) > maxNumber {
		return fmt.Errorf("a number of %d characters, more than %d", len(text), maxNumber)
	}
	mantissa := strings.IndexAny(text, "eE")
	if mantissa < 0 { // no exponent: so few digits are within float64
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f == 0 && strings.ContainsAny(text[:mantissa], "123456789") {
		return errNumber
	}
	return nil
}
