package policy

import (
	"context"
	"errors"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/download"
	bundleplugin "github.com/open-policy-agent/opa/v1/plugins/bundle"
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

// WriteArchive replaces a file as a whole or not at all.
func WriteArchive(name string, raw []byte) error { return writeArchive(name, raw) }

// Apply gives a bundle that is kept on disk what its downloader brought.
func (b *Bundles) Apply(name string, u download.Update) error {
	l := &bundleLoader{b: b, name: name, source: &bundleplugin.Source{Persist: true}}
	return l.apply(context.Background(), u)
}

// Fail notes an error.
func (b *Bundles) Fail(name, text string) { b.failed(name, errors.New(text)) }
