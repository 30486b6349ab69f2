package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Choice is the value of a flag that is one of a few words.
type Choice struct {
	chosen *string
	of     []string
}

// OneOf makes a Choice that is kept in chosen. The first word is the default.
func OneOf(chosen *string, words ...string) Choice {
	*chosen = words[0]
	return Choice{chosen, words}
}

// Set, String and Type are what flags ask for.
func (c Choice) Set(word string) error {
	if !slices.Contains(c.of, word) {
		return fmt.Errorf("must be one of %s", strings.Join(c.of, ", "))
	}
	*c.chosen = word
	return nil
}

func (c Choice) String() string {
	if c.chosen == nil {
		return ""
	}
	return *c.chosen
}

// Type is the placeholder in the help.
func (c Choice) Type() string { return strings.Join(c.of, "|") }

// Pairs is the value of a flag that is repeated, NAME=VALUE each time. It takes
// the value as it is, with its commas and equals signs.
type Pairs map[string]string

// Set, String and Type are what flags ask for.
func (p *Pairs) Set(pair string) error {
	name, value, found := strings.Cut(pair, "=")
	if !found || name == "" {
		return errors.New("write NAME=VALUE")
	}
	if *p == nil {
		*p = Pairs{}
	}
	(*p)[name] = value
	return nil
}

func (p *Pairs) String() string { return "" } // no flag has a default

// Type is the placeholder in the help.
func (p *Pairs) Type() string { return "NAME=VALUE" }
