package metamorphic

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/test/oracle"
)

// scenario is what a service was given: configurations one after the other, and
// requests to each. Written as YAML it is a case that is replayed for ever.
type scenario struct {
	Why   string    `yaml:"why"`
	Now   time.Time `yaml:"now"`
	Steps []step    `yaml:"steps"`
}

// step is a reload, or where it has no configuration the same snapshot at a
// later time.
type step struct {
	After    time.Duration     `yaml:"after,omitempty"` // since Now
	Config   map[string]any    `yaml:"config,omitempty"`
	Files    map[string]string `yaml:"files,omitempty"` // beside the configuration
	Requests []request         `yaml:"requests"`
}

type request struct {
	Method     string            `yaml:"method"`
	Host       string            `yaml:"host"`
	Path       string            `yaml:"path"`
	Headers    [][2]string       `yaml:"headers,omitempty,flow"`
	Extensions map[string]string `yaml:"extensions,omitempty,flow"`
	Want       string            `yaml:"want,omitempty"` // the reason; of a case in testdata
}

func (r request) oracle() oracle.Request {
	return oracle.Request{Method: r.Method, Host: r.Host, Path: r.Path, Headers: r.Headers, Extensions: r.Extensions}
}

// readScenario fails for what is empty, or holds something that nobody knows.
func readScenario(file string) (*scenario, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	s := new(scenario)
	if err := decoder.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	requests := 0
	for _, step := range s.Steps {
		for _, r := range step.Requests {
			if requests++; r.Want == "" {
				return nil, fmt.Errorf("%s: a request without the reason that it must be answered with", file)
			}
		}
	}
	if requests == 0 || s.Why == "" || s.Now.IsZero() || s.Steps[0].Config == nil {
		return nil, fmt.Errorf("%s: no requests, or it does not say why, when, or with which configuration", file)
	}
	return s, nil
}

func (s *scenario) write(file string) error {
	text, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(s.tokens()), text...), 0o600)
}

// tokens are comments that show what the tokens hold.
func (s *scenario) tokens() (comments string) {
	seen := map[string]bool{}
	for _, st := range s.Steps {
		for _, q := range st.Requests {
			for _, h := range q.Headers {
				for _, token := range regexp.MustCompile(`[\w-]+\.[\w-]+\.`).FindAllString(h[1], -1) {
					if seen[token] {
						continue
					}
					seen[token] = true
					parts := strings.Split(token, ".")
					header, _ := base64.RawURLEncoding.DecodeString(parts[0]) // what can't be read is hostile
					claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
					comments += fmt.Sprintf("# %.200q\n# %.1000q\n", header, claims)
				}
			}
		}
	}
	return comments
}

// clone is deep.
func (s *scenario) clone() *scenario {
	text, err := yaml.Marshal(s)
	if err != nil {
		panic(err)
	}
	c := new(scenario)
	if err := yaml.Unmarshal(text, c); err != nil {
		panic(err)
	}
	return c
}

// difference is where a service and the specification disagree.
type difference struct {
	step, request int
	how           string // which service, and how it was asked
	want, got     oracle.Answer
}

func (d *difference) String() string {
	return fmt.Sprintf("step %d, request %d, %s:\n  the specification says %+v\n  the service says       %+v", d.step, d.request, d.how, d.want, d.got)
}

func equal(a, b oracle.Answer) bool {
	if len(a.Set) == 0 && len(b.Set) == 0 {
		a.Set, b.Set = nil, nil
	}
	if len(a.Removed) == 0 && len(b.Removed) == 0 {
		a.Removed, b.Removed = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// inForce is the step whose configuration serves the requests of step i.
func (s *scenario) inForce(i int) step {
	for s.Steps[i].Config == nil {
		i--
	}
	return s.Steps[i]
}
