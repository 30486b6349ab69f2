package docs

import (
	"regexp"
	"strings"
	"testing"
)

var (
	flowHead = regexp.MustCompile(`^flowchart (LR|TB)$`)
	// node is an id, and at its first place the text in its brackets.
	flowEdge = regexp.MustCompile(`^([a-z]+)(\(\[[^\]]+\]\)|\[[^\]]+\])? (?:-- [^-|]+ -->|-->) ([a-z]+)(\(\[[^\]]+\]\)|\[[^\]]+\])?$`)
)

// checkMermaid takes the part of mermaid's language that our pictures use: a
// flow chart of edges, each node with a text at its first place or none.
func checkMermaid(t *testing.T, b block) {
	lines := strings.Split(strings.TrimSpace(b.text), "\n")
	if !flowHead.MatchString(lines[0]) || len(lines) < 3 {
		t.Fatalf("no flow chart begins with %q", lines[0])
	}
	labelled := map[string]bool{}
	for _, line := range lines[1:] {
		edge := flowEdge.FindStringSubmatch(strings.TrimSpace(line))
		if edge == nil {
			t.Errorf("no edge: %q", line)
			continue
		}
		for i := 1; i <= 3; i += 2 {
			if id, text := edge[i], edge[i+1]; text != "" && labelled[id] {
				t.Errorf("%s is named twice: %q", id, line)
			} else if text != "" {
				labelled[id] = true
			}
		}
	}
}
