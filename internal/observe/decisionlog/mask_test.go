package decisionlog_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

func TestMasks(t *testing.T) {
	const before = `{"decision_id":"id","sub":"user:alice","input":{"a/b":1,"list":[1,2,3],"deep":{"x":{"y":1}}}}`
	for name, c := range map[string]struct {
		mask policy.Mask
		want string
	}{
		"remove":              {policy.Mask{Op: "remove", Path: "/sub"}, `{"decision_id":"id","input":{"a/b":1,"list":[1,2,3],"deep":{"x":{"y":1}}},"erased":["/sub"]}`},
		"under OPA's result":  {policy.Mask{Op: "remove", Path: "/result/sub"}, `{"decision_id":"id","input":{"a/b":1,"list":[1,2,3],"deep":{"x":{"y":1}}},"erased":["/result/sub"]}`},
		"nothing there":       {policy.Mask{Op: "remove", Path: "/input/x/y/z"}, before},
		"a list":              {policy.Mask{Op: "remove", Path: "/input/list/1"}, `{"decision_id":"id","sub":"user:alice","input":{"a/b":1,"list":[1,3],"deep":{"x":{"y":1}}},"erased":["/input/list/1"]}`},
		"beyond a list":       {policy.Mask{Op: "remove", Path: "/input/list/3"}, before},
		"a list's end":        {policy.Mask{Op: "upsert", Path: "/input/list/-", Value: 1}, before},
		"an escaped slash":    {policy.Mask{Op: "upsert", Path: "/input/a~1b", Value: "x"}, `{"decision_id":"id","sub":"user:alice","input":{"a/b":"x","list":[1,2,3],"deep":{"x":{"y":1}}},"masked":["/input/a~1b"]}`},
		"into a list":         {policy.Mask{Op: "upsert", Path: "/input/list/0", Value: nil}, `{"decision_id":"id","sub":"user:alice","input":{"a/b":1,"list":[null,2,3],"deep":{"x":{"y":1}}},"masked":["/input/list/0"]}`},
		"upsert makes a way":  {policy.Mask{Op: "upsert", Path: "/new/way", Value: 1}, `{"decision_id":"id","sub":"user:alice","input":{"a/b":1,"list":[1,2,3],"deep":{"x":{"y":1}}},"new":{"way":1},"masked":["/new/way"]}`},
		"below a scalar":      {policy.Mask{Op: "upsert", Path: "/sub/x", Value: 1}, before},
		"all of the input":    {policy.Mask{Op: "remove", Path: "/input"}, `{"decision_id":"id","sub":"user:alice","erased":["/input"]}`},
		"deep":                {policy.Mask{Op: "remove", Path: "/input/deep/x/y"}, `{"decision_id":"id","sub":"user:alice","input":{"a/b":1,"list":[1,2,3],"deep":{"x":{}}},"erased":["/input/deep/x/y"]}`},
		"an empty list index": {policy.Mask{Op: "remove", Path: "/input/list/"}, before},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := decisionlog.Apply(before, c.mask)
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, text)
			if diff := cmp.Diff(parse(t, c.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The masks of the configuration and of the policy come before any writer.
func TestMaskedRecords(t *testing.T) {
	var console buffer
	l := open(t, &console, nil, func(c *config.DecisionLog) {
		c.Console, c.Input = true, true
		c.Masks = []config.DecisionMask{{Op: "upsert", Path: "/sub", Value: "someone"}}
	})
	e := engine(t, `
mask contains "/input/identity" if input.result.reason == "insufficient_scope"
mask contains {"op": "upsert", "path": "/input/request/path", "value": "hidden"} if startswith(input.input.request.path, "/posts/")
`)
	l.Use(e)
	l.Record(withInput(t, e, denial("one")), trace)
	l.Record(withInput(t, e, allow("two")), trace)
	flush(t, l)
	list := parse(t, console.String())
	if len(list) != 2 {
		t.Fatalf("%s", console.String())
	}
	for i, record := range list {
		input := record["input"].(map[string]any)
		if record["sub"] != "someone" || input["request"].(map[string]any)["path"] != "hidden" || (input["identity"] == nil) != (i == 0) {
			t.Errorf("%v", record)
		}
	}
	if diff := cmp.Diff([]any{"/input/identity"}, list[0]["erased"]); diff != "" {
		t.Error(diff)
	}
}

// Where the mask fails, nobody knows what to hide: the record is not written.
func TestFailingMask(t *testing.T) {
	for name, rule := range map[string]string{
		"a conflict":  `mask := x if { some x in [1, 2]; input.decision_id == "bad" }`,
		"no path":     `mask contains "sub" if input.decision_id == "bad"`,
		"no such op":  `mask contains {"op": "hide", "path": "/sub"} if input.decision_id == "bad"`,
		"not a place": `mask contains 7 if input.decision_id == "bad"`,
	} {
		t.Run(name, func(t *testing.T) {
			var console, journal buffer
			l := open(t, &console, &journal, toConsole)
			l.Use(engine(t, rule))
			l.Record(denial("bad"), trace)
			l.Record(denial("good"), trace)
			flush(t, l)
			if strings.Contains(console.String(), `"bad"`) || !strings.Contains(console.String(), `"good"`) {
				t.Errorf("written: %s", console.String())
			}
			if got := stats(t, l); got.Dropped["mask"] != 1 || got.Written != 1 || !strings.Contains(journal.String(), "masking a record") {
				t.Errorf("%+v %s", got, journal.String())
			}
		})
	}
}

// A mask is evaluated over what clients wrote: what they made to be expensive is
// left out, and the rest of the record stays.
func TestMaskOfHostileInput(t *testing.T) {
	var console buffer
	l := open(t, &console, nil, func(c *config.DecisionLog) { c.Console, c.Input = true, true })
	e := engine(t, `mask contains "/result/workspace_id" if input.result.sub == "user:alice"`)
	l.Use(e)
	usual, hostile := withInput(t, e, denial("usual")), withInput(t, e, denial("hostile"))
	hostile.Input.RawQuery = strings.Join(testkit.Colliding(200, 1), "&")
	l.Record(usual, trace)
	l.Record(hostile, trace)
	flush(t, l)
	list := parse(t, console.String())
	if len(list) != 2 {
		t.Fatalf("%s", console.String())
	}
	for i, record := range list {
		if (record["input"] == nil) != (i == 1) || (record["input_omitted"] == true) != (i == 1) || record["workspace_id"] != nil || record["method"] != "GET" {
			t.Errorf("%v", record)
		}
	}
}
