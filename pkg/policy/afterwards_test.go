package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// afterwardsCases are policies and hostile bodies that each took seconds of the
// processor after their answer, or the process.
var afterwardsCases = map[string]struct {
	call string
	body func() string
}{
	"GraphQL, nested": {`graphql.parse_query(input.parsed_body)`, func() string { return mustJSON("{a(x:" + strings.Repeat("[", 1_000_000)) }},
	"GraphQL, fields": {`graphql.parse_and_verify(input.parsed_body, "type Query {a: Int}")`, func() string { return mustJSON("{" + strings.Repeat("a ", 200_000) + "}") }},
	"huge numbers":    {`sort(json.unmarshal(input.parsed_body))`, func() string { return mustJSON(documents["JSON, a list of huge numbers"]()) }},
	"large numbers":   {`sort(json.unmarshal(input.parsed_body))`, func() string { return mustJSON(documents["JSON, a list of large numbers"]()) }},
	"a product":       {`product(json.unmarshal(input.parsed_body))`, func() string { return mustJSON(documents["JSON, a list of numbers"]()) }},
	"networks": {`net.cidr_contains_matches(input.parsed_body, input.parsed_body)`, func() string {
		return list("[", ",", "]", many, func(i int) string { return fmt.Sprintf("%q", address(i)) })
	}},
	"a schema": {`json.match_schema(input.parsed_body, input.parsed_body)`, func() string { return mustJSON(doublingSchema(60)) }},
	"patterns": {`strings.replace_n(input.parsed_body, "aaaa")`, func() string {
		return list("{", ",", "}", many, func(i int) string { return fmt.Sprintf(`"%06d":"b"`, i) })
	}},
	"a cutset":            {`trim(input.parsed_body, input.parsed_body)`, func() string { return mustJSON(fill("\u00e9")) }},
	"a list in a list":    {`object.subset(input.parsed_body, array.slice(input.parsed_body, 0, 100000))`, func() string { return list("[", ",", "]", many, func(int) string { return "1" }) }},
	"pretty JSON":         {`json.marshal_with_options(input.parsed_body, {"pretty": true})`, func() string { return documents["JSON, nested lists"]() }},
	"patches":             {`json.patch(input.parsed_body, [p | some i, _ in input.parsed_body; p := {"op": "remove", "path": "/0"}])`, func() string { return list("[", ",", "]", 10_000, func(i int) string { return "1" }) }},
	"a set of fractions":  {`{x | some x in input.parsed_body}`, func() string { return documents["JSON, a list of fractions"]() }},
	"a set of trees":      {`{x | some x in input.parsed_body}`, func() string { return list("[", ",", "]", many, func(i int) string { return fmt.Sprint(tree(i)) }) }},
	"a pattern":           {`regex.match("(a?b?){900}c$", input.parsed_body)`, func() string { return mustJSON(strings.Repeat("ab", 5000)) }},
	"all of a deep value": {`[1 | walk(input.parsed_body, [_, "x"])]`, func() string { return documents["JSON, nested lists"]() }},
	"layers of a graph": {`graph.reachable(input.parsed_body, ["n0"])`, func() string {
		return list("{", ",", "}", many, func(i int) string { return fmt.Sprintf(`"n%d":["n%d","n%d"]`, i, i/2*2+2, i/2*2+3) })
	}},
	"much YAML": {`yaml.unmarshal(input.parsed_body)`, func() string { return mustJSON(documents["YAML, aliases of aliases"]()) }},
}

// afterwards is what an evaluation used, in a process of its own.
type afterwards struct {
	Reason    answers.Reason `json:"reason"`
	Answered  time.Duration  `json:"answered"`  // of the clock
	Processor time.Duration  `json:"processor"` // after the answer
	Peak      int            `json:"peak"`      // MiB
	Factor    float64        `json:"factor"`
	Error     string         `json:"error"`
}

// afterwardsWorker decides one request, and watches the process until it is quiet.
func afterwardsWorker(name string) error {
	tt := afterwardsCases[name]
	dir, err := os.MkdirTemp("", "afterwards")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "test.rego")
	if err := os.WriteFile(file, []byte("package test\n\ndecision if { x := "+tt.call+"; x != input.tenant }\n"), 0o600); err != nil {
		return err
	}
	e, err := New(context.Background(), Config{Entrypoint: "test/decision", Paths: []string{file}})
	if err != nil {
		return err
	}
	in := &Input{TenantID: "acme", Method: "POST", Body: Body{ContentType: "application/json", Bytes: []byte(tt.body())}}
	result := afterwards{Factor: sweepFactor()}
	start := time.Now()
	d := e.Decide(context.Background(), in)
	result.Answered, result.Reason, result.Error = time.Since(start), d.Reason, fmt.Sprint(d.Err)
	answered := processorTime()
	for {
		before := processorTime()
		time.Sleep(100 * time.Millisecond)
		if running, _ := e.Abandoned(); running == 0 || before-answered > sweepStop {
			break
		}
	}
	result.Processor, result.Peak = processorTime()-answered, peak()
	return json.NewEncoder(os.Stdout).Encode(result)
}

// afterAnswer is how long an evaluation uses the processor after its request was
// answered, at most: docs/policy-reference.md.
const afterAnswer = 5 * DefaultTimeout

// TestProcessorAfterTheAnswer: each is answered in time, as an error of the
// policy or of the request, and soon uses the processor no more.
func TestProcessorAfterTheAnswer(t *testing.T) {
	for name, tt := range afterwardsCases {
		t.Run(name, func(t *testing.T) {
			var r afterwards
			if err := json.Unmarshal(runWorker(t, "afterwards "+name), &r); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s after %v, then %v of the processor, %d MiB (%.100s)", r.Reason, r.Answered, r.Processor, r.Peak, r.Error)
			if r.Reason != answers.PolicyError && r.Reason != answers.InvalidRequest && r.Reason != answers.PolicyDenied {
				t.Errorf("the answer is %q", r.Reason)
			}
			if r.Answered > 10*time.Second { // of a clock that others' work moves, too
				t.Errorf("answered after %v", r.Answered)
			}
			if raceDetector {
				return // it uses the processor, and memory, as nothing else
			}
			if most := time.Duration(4 * r.Factor * float64(afterAnswer)); r.Processor > most {
				t.Errorf("used the processor for %v after the answer, more than %v", r.Processor, most)
			}
			if most := 128 + 160*len(tt.body())>>20; r.Peak > most {
				t.Errorf("the process had %d MiB, more than %d", r.Peak, most)
			}
		})
	}
}
