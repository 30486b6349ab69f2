package tracecontext_test

import (
	"encoding/hex"
	"testing"

	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

const (
	trace = "0af7651916cd43dd8448eb211c80319c"
	span  = "b7ad6b7169203331"
)

func TestOf(t *testing.T) {
	w3c := func(text string) tenants.Headers { return tenants.Headers{{Name: "traceparent", Value: text}} }
	b3 := func(text string) tenants.Headers { return tenants.Headers{{Name: "b3", Value: text}} }
	for name, c := range map[string]struct {
		headers tenants.Headers
		trace   string // "": none
		sampled bool
		state   string
	}{
		"none":              {nil, "", false, ""},
		"traceparent":       {w3c("00-" + trace + "-" + span + "-01"), trace, true, ""},
		"not sampled":       {w3c("00-" + trace + "-" + span + "-00"), trace, false, ""},
		"upper-case name":   {tenants.Headers{{Name: "Traceparent", Value: "00-" + trace + "-" + span + "-01"}}, trace, true, ""},
		"a later version":   {w3c("01-" + trace + "-" + span + "-01-more"), trace, true, ""},
		"no such version":   {w3c("ff-" + trace + "-" + span + "-01"), "", false, ""},
		"more behind 00":    {w3c("00-" + trace + "-" + span + "-01-more"), "", false, ""},
		"upper-case digits": {w3c("00-0AF7651916cd43dd8448eb211c80319c-" + span + "-01"), "", false, ""},
		"no trace":          {w3c("00-00000000000000000000000000000000-" + span + "-01"), "", false, ""},
		"no span":           {w3c("00-" + trace + "-0000000000000000-01"), "", false, ""},
		"short":             {w3c("00-" + trace), "", false, ""},
		"tracestate before": {append(tenants.Headers{{Name: "tracestate", Value: "a=b"}}, w3c("00-"+trace+"-"+span+"-01")...), trace, true, "a=b"},
		"tracestate behind": {append(w3c("00-"+trace+"-"+span+"-01"), tenants.Headers{{Name: "tracestate", Value: "a=b"}}...), trace, true, "a=b"},
		"b3":                {b3(trace + "-" + span + "-1-05e3ac9a4f6e3b90"), trace, true, ""},
		"b3 debug":          {b3(trace + "-" + span + "-d"), trace, true, ""},
		"b3 deferred":       {b3(trace + "-" + span), trace, false, ""},
		"b3 short":          {b3("8448eb211c80319c-" + span + "-1"), "00000000000000008448eb211c80319c", true, ""},
		"b3 denial alone":   {b3("0"), "", false, ""},
		"b3 hostile":        {b3("----------"), "", false, ""},
		"b3 headers": {tenants.Headers{{Name: "x-b3-sampled", Value: "1"}, {Name: "X-B3-TraceId", Value: trace}, {Name: "x-b3-spanid", Value: span}},
			trace, true, ""},
		"b3 flags": {tenants.Headers{{Name: "x-b3-traceid", Value: trace}, {Name: "x-b3-spanid", Value: span}, {Name: "x-b3-flags", Value: "1"}},
			trace, true, ""},
		"b3 without a span": {tenants.Headers{{Name: "x-b3-traceid", Value: trace}}, "", false, ""},
		"traceparent wins": {append(w3c("00-"+trace+"-"+span+"-01"), b3("ffffffffffffffffffffffffffffffff-"+span+"-0")...),
			trace, true, ""},
		"broken traceparent": {append(w3c("00-x"), b3(trace+"-"+span+"-1")...), trace, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := tracecontext.Of(c.headers)
			id := string(got.AppendTraceID(nil))
			if !got.Valid() {
				id = ""
			}
			if id != c.trace || got.Sampled != c.sampled || got.State != c.state {
				t.Errorf("trace %q, sampled %t, state %q", id, got.Sampled, got.State)
			}
			if c.trace != "" && hex.EncodeToString(got.SpanID[:]) != span {
				t.Errorf("span %x", got.SpanID)
			}
		})
	}
}

func TestOfAllocates(t *testing.T) {
	headers := tenants.Headers{{Name: "accept", Value: "*/*"}, {Name: "traceparent", Value: "00-" + trace + "-" + span + "-01"}, {Name: "tracestate", Value: "a=b"}}
	if n := testing.AllocsPerRun(100, func() { tracecontext.Of(headers) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
