package config

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Redacted returns the configuration in force as YAML, defaults and what tenants
// inherit filled in, without secrets: keys and tokens, passwords and queries of
// URLs, and what looks like a secret in the sections that other programs define.
func (c *Config) Redacted() ([]byte, error) {
	blocks := make(map[string]tenants.Config, len(c.Tenants))
	for _, t := range c.Tenants {
		blocks[t.ID] = t
	}
	var root yaml.Node
	if err := root.Encode(struct {
		Config  `yaml:",inline"`
		Tenants map[string]tenants.Config `yaml:"tenants"`
	}{*c, blocks}); err != nil {
		return nil, fmt.Errorf("showing the configuration: %w", err)
	}
	redact(&root, false)
	var out bytes.Buffer
	if c.Path != "" {
		fmt.Fprintf(&out, "# %s\n", c.Path)
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return nil, fmt.Errorf("showing the configuration: %w", err)
	}
	return out.Bytes(), nil
}

const redacted = "[redacted]"

// secretName are keys of sections whose types are not ours.
var secretName = regexp.MustCompile(`(?i)(secret|token|passw|api_?key|credential|private|signing|authorization|cookie|(^|_|-)key$)`)

// redact hides what is secret below a node. open says that it is in a section
// of which we know the names alone.
func redact(n *yaml.Node, open bool) {
	if n.Kind == yaml.ScalarNode {
		n.Value = redactURL(n.Value)
		return
	}
	for i, child := range n.Content {
		if n.Kind != yaml.MappingNode {
			redact(child, open)
			continue
		}
		if i%2 == 0 {
			continue // a key
		}
		key := n.Content[i-1].Value
		if open && secretName.MatchString(key) {
			*child = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: redacted}
			continue
		}
		redact(child, open || key == "bundles" || key == "revocation")
	}
}

// redactURL hides what a URL can carry beside its place.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil && strings.Contains(text, "://") { // a password may be what is wrong with it
		return redacted
	}
	if err != nil || u.Scheme == "" || u.Host == "" || u.User == nil && u.RawQuery == "" {
		return text
	}
	if u.User != nil {
		u.User = url.User("redacted")
	}
	if u.RawQuery != "" {
		u.RawQuery = "redacted"
	}
	return u.String()
}
