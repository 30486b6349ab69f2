package tenants

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Secret is key material. Whatever prints it prints a placeholder; Reveal reads
// it. The zero value is none.
//
// It is no string: of a map's keys encoding/json shows the text of a string
// without asking it. And its text is behind a pointer: fmt does not ask what
// stands in a field that is not exported.
type Secret struct{ text *string }

// NewSecret hides a text. An empty one is no secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal compares the texts, in a time that does not tell where they differ; ==
// would compare where they are.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

const redacted = "[redacted]"

func (s Secret) String() string               { return redacted }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format is there for all verbs: those that are not made for a type make fmt
// look into it.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) } // fmt can't fail

// MarshalYAML shows whether there is a secret, and nothing of it.
func (s Secret) MarshalYAML() (any, error) {
	if s.IsZero() {
		return "", nil
	}
	return redacted, nil
}
