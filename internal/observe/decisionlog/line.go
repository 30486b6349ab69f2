package decisionlog

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Bounds of a record. What a client chose is cut; an input that is larger is
// left out, and the record says so.
const (
	maxText  = 2 << 10
	maxInput = 1 << 20
	maxLine  = 2 << 20 // more than a line can have: what a reader takes at most
)

// appendLine appends a record without its line break. Record is its form.
func appendLine(b []byte, r *extauthz.Record, trace tracecontext.Context, withInput bool) []byte {
	a := r.Answer
	b = append(b, `{"time":"`...)
	b = r.Start.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","decision_id":"`...)
	b = append(b, a.DecisionID...)
	b = append(b, '"')
	if trace.Valid() {
		b = append(b, `,"trace_id":"`...)
		b = append(trace.AppendTraceID(b), '"')
	}
	b = appendText(b, "tenant", a.Tenant)
	b = appendText(b, "sub", a.Subject)
	b = appendText(b, "workspace_id", a.WorkspaceID)
	if r.Message != nil {
		b = appendText(b, "method", r.Message.Method)
		b = appendText(b, "host", r.Message.Host)
		b = appendText(b, "path", policy.HideText(r.Path()))
	}
	b = appendText(b, "route", a.Route)
	status := a.Status
	b = append(b, `,"allowed":`...)
	if b = strconv.AppendBool(b, a.Allowed); a.Allowed {
		status = 200
	}
	b = appendText(b, "reason", string(a.Reason))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	if a.Err != nil {
		b = appendText(b, "error", a.Err.Error())
	}
	b = appendStages(b, &r.Ends)
	b = appendText(b, "token_cache", lookupName(r.TokenCache))
	b = appendText(b, "decision_cache", lookupName(r.DecisionCache))
	b = appendText(b, "policy_revision", a.PolicyRevision)
	if withInput && r.Input != nil && r.Policy != nil {
		b = appendInput(b, r)
	}
	return append(b, '}')
}

// appendText appends a member, or nothing where there is no text. Bytes that
// are no UTF-8 become U+FFFD.
func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	if len(text) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	b, _ = jsontext.AppendQuote(b, text) // the error says what was replaced
	return b
}

// appendStages appends the whole time and that of each stage that was reached,
// in nanoseconds.
func appendStages(b []byte, ends *[extauthz.Stages]time.Duration) []byte {
	b = append(b, `,"took_ns":`...)
	b = strconv.AppendInt(b, int64(ends[extauthz.StageEncode]), 10)
	b = append(b, `,"stages_ns":{`...)
	first, before := true, time.Duration(0)
	for stage, end := range ends {
		if end == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, extauthz.Stage(stage).String()...)
		b = append(b, `":`...)
		b = strconv.AppendInt(b, int64(end-before), 10)
		first, before = false, end
	}
	return append(b, '}')
}

func lookupName(l jwtverify.Lookup) string {
	switch l {
	case jwtverify.Hit:
		return "hit"
	case jwtverify.Miss:
		return "miss"
	}
	return ""
}

// appendInput appends what the policy saw, without the credentials.
func appendInput(b []byte, r *extauthz.Record) []byte {
	carrier := ""
	if r.Tenant != nil {
		carrier = strings.ToLower(r.Tenant.Token.Header)
	}
	before := len(b)
	b = append(b, `,"input":`...)
	start := len(b)
	b, err := r.Policy.AppendInput(b, r.Input, func(name string) bool { return name == carrier })
	if err != nil || len(b)-start > maxInput {
		return append(b[:before], `,"input_omitted":true`...)
	}
	return b
}

// eachLine calls f with each line of a chunk, without its line break.
func eachLine(chunk []byte, f func(line []byte)) {
	for len(chunk) > 0 {
		line, rest, _ := bytes.Cut(chunk, []byte{'\n'})
		f(line)
		chunk = rest
	}
}
