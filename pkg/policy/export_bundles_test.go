package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Held is what is made of a bundle that was read and verified.
type Held = held

// Hold checks a bundle for what can't be run here.
func Hold(name string, b *bundle.Bundle) (*Held, error) { return hold(name, b, nil) }

// Roots are those of the bundle, or everything.
func (h *held) Roots() []string { return h.roots() }

// ApplyDelta makes a bundle from one and the changes to its data.
func ApplyDelta(base *Held, delta *bundle.Bundle) (*bundle.Bundle, error) {
	return applyDelta(context.Background(), base, delta)
}

// Take gives the bundles one that was downloaded.
func (b *Bundles) Take(name string, got *bundle.Bundle) error {
	return b.take(context.Background(), name, got, nil)
}
