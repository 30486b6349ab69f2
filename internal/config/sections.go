package config

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
)

// Sections are parts of a configuration that OPA defines. They hold
// credentials: wherever they are printed, these are hidden.
type Sections map[string]any

const hidden = "(hidden)"

// Shown returns the sections with what may be a secret hidden: all below
// credentials, keys and headers, and the user and the query of a URL.
func (s Sections) Shown() map[string]any {
	shown, _ := hide(map[string]any(s), false).(map[string]any)
	return shown
}

func hide(value any, secret bool) any {
	switch value := value.(type) {
	case map[string]any:
		shown := make(map[string]any, len(value))
		for key, below := range value {
			shown[key] = hide(below, secret || key == "credentials" || key == "keys" || key == "headers")
		}
		return shown
	case []any:
		shown := make([]any, len(value))
		for i, below := range value {
			shown[i] = hide(below, secret)
		}
		return shown
	case string:
		u, err := url.Parse(value)
		switch {
		case secret || err != nil && strings.Contains(value, "://"): // a password may be what is wrong with it
			return hidden
		case err == nil && (u.RawQuery != "" || u.User != nil):
			if u.User = nil; u.RawQuery != "" {
				u.RawQuery = hidden
			}
			return u.String()
		}
		return value
	}
	if secret {
		return hidden
	}
	return value
}

// String returns the shown sections as JSON.
func (s Sections) String() string {
	text, err := s.MarshalJSON()
	if err != nil {
		return hidden
	}
	return string(text)
}

// GoString is String: %#v must not show more.
func (s Sections) GoString() string { return s.String() }

// MarshalJSON returns the shown sections.
func (s Sections) MarshalJSON() ([]byte, error) { return json.Marshal(s.Shown()) }

// MarshalYAML returns the shown sections.
func (s Sections) MarshalYAML() (any, error) { return s.Shown(), nil }

// LogValue returns the shown sections.
func (s Sections) LogValue() slog.Value { return slog.AnyValue(s.Shown()) }
