package tracing_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/tracecontext"
	"github.com/ussoio/ussoauthz/internal/tracing"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	nearID  = "00f067aa0ba902b7"
)

// receiver takes spans by OTLP over gRPC and over HTTP.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu        sync.Mutex
	spans     []*tracepb.Span
	resources []string
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range request.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			r.resources = append(r.resources, a.Key+"="+a.Value.GetStringValue())
		}
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var message collector.ExportTraceServiceRequest
	if err != nil || request.URL.Path != "/v1/traces" || proto.Unmarshal(body, &message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = r.Export(request.Context(), &message)
}

// setenv sets variables for a test and returns the reader of them.
func setenv(t *testing.T, vars map[string]string) func(string) string {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
	return os.Getenv
}

func record(reason answers.Reason) *extauthz.Record {
	return &extauthz.Record{
		Answer:  &extauthz.Answer{Reason: reason, Allowed: reason == answers.Allowed, Tenant: "acme", Route: "GET /posts/{id}", DecisionID: "id", Subject: "user:alice"},
		Start:   time.Unix(1900000000, 0),
		Ends:    [extauthz.Stages]time.Duration{1000, 2000, 0, 0, 0, 9000},
		Message: &extauthz.Message{Method: "GET", Target: "/posts/42?q=s3cret", Headers: tenants.Headers{{Name: "authorization", Value: "Bearer s3cret"}}},
	}
}

func from(span string) tracecontext.Context {
	return tracecontext.Of(tenants.Headers{{Name: "traceparent", Value: "00-" + traceID + "-" + span + "-01"}})
}

// The spans of a check arrive, over either protocol, under the request's trace.
func TestSpans(t *testing.T) {
	var byGRPC, byHTTP receiver
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &byGRPC)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	defer server.Stop()
	web := httptest.NewServer(&byHTTP)
	defer web.Close()
	for protocol, c := range map[string]struct {
		receiver *receiver
		endpoint string
	}{"grpc": {&byGRPC, "http://" + listener.Addr().String()}, "http/protobuf": {&byHTTP, web.URL}} {
		t.Run(protocol, func(t *testing.T) {
			env := setenv(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_RESOURCE_ATTRIBUTES": "service.name=edge",
			})
			tracer, err := tracing.New(t.Context(), env, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			// Envoy's span, in the call's metadata, is nearer than its client's.
			call := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", "00-"+traceID+"-"+nearID+"-01"))
			got := tracer.Record(call, record(answers.KeysUnavailable), from(spanID))
			if string(got.AppendTraceID(nil)) != traceID || !got.Sampled {
				t.Errorf("%+v", got)
			}
			if err := tracer.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			spans := map[string]*tracepb.Span{}
			for _, s := range c.receiver.spans {
				spans[s.Name] = s
			}
			check := spans["ussoauthz.check"]
			if check == nil || len(spans) != 4 || len(c.receiver.spans) != 4 {
				t.Fatalf("%v", c.receiver.spans)
			}
			if hex.EncodeToString(check.TraceId) != traceID || hex.EncodeToString(check.ParentSpanId) != nearID || check.Kind != tracepb.Span_SPAN_KIND_SERVER ||
				check.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || check.EndTimeUnixNano-check.StartTimeUnixNano != 9000 {
				t.Errorf("%v", check)
			}
			for name, length := range map[string]uint64{"parse": 1000, "select": 1000, "encode": 7000} {
				if s := spans[name]; s == nil || !bytes.Equal(s.ParentSpanId, check.SpanId) || s.EndTimeUnixNano-s.StartTimeUnixNano != length {
					t.Errorf("%s: %v", name, s)
				}
			}
			attributes := map[string]string{}
			for _, a := range check.Attributes {
				attributes[a.Key] = a.Value.GetStringValue()
			}
			if attributes["http.route"] != "GET /posts/{id}" || attributes["ussoauthz.tenant"] != "acme" || attributes["ussoauthz.reason"] != "keys_unavailable" ||
				attributes["ussoauthz.decision_id"] != "id" || attributes["http.request.method"] != "GET" {
				t.Errorf("%v", attributes)
			}
			if text := check.String(); strings.Contains(text, "s3cret") || strings.Contains(text, "alice") {
				t.Errorf("it tells too much: %s", text)
			}
			if all := strings.Join(c.receiver.resources, " "); !strings.Contains(all, "service.name=edge") || strings.Contains(all, "service.name=ussoauthz") {
				t.Errorf("%s", all)
			}
		})
	}
}

// Whose span a check is under, and whether it is kept.
func TestParents(t *testing.T) {
	var r receiver
	web := httptest.NewServer(&r)
	defer web.Close()
	env := setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": web.URL + "/v1/traces", "OTEL_TRACES_SAMPLER": "parentbased_always_off"})
	tracer, err := tracing.New(t.Context(), env, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	other := metadata.NewIncomingContext(t.Context(), metadata.Pairs("b3", strings.Repeat("f", 32)+"-"+nearID+"-1"))
	tracer.Record(other, record(answers.Allowed), from(spanID))                                          // of another trace: the request's counts
	tracer.Record(other, record(answers.Allowed), tracecontext.Context{})                                // the request has none: the call's counts
	if got := tracer.Record(t.Context(), record(answers.Allowed), tracecontext.Context{}); got.Valid() { // a root, which the sampler leaves out
		t.Errorf("%+v", got)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var parents []string
	for _, s := range r.spans {
		if s.Name == "ussoauthz.check" {
			parents = append(parents, hex.EncodeToString(s.TraceId)+"/"+hex.EncodeToString(s.ParentSpanId))
		}
	}
	if want := traceID + "/" + spanID + " " + strings.Repeat("f", 32) + "/" + nearID; strings.Join(parents, " ") != want {
		t.Errorf("%q, want %q", parents, want)
	}
}

func TestEnvironment(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for name, c := range map[string]struct {
		vars map[string]string
		on   bool
		want string // of the error
	}{
		"nothing":            {nil, false, ""},
		"an endpoint":        {map[string]string{endpoint: "http://127.0.0.1:1"}, true, ""},
		"an exporter":        {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		"no exporter":        {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		"disabled":           {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "TRUE"}, false, ""},
		"unknown switch":     {map[string]string{"OTEL_SDK_DISABLED": "yes"}, false, `OTEL_SDK_DISABLED is "yes": write one of true, false`},
		"unknown exporter":   {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, `OTEL_TRACES_EXPORTER is "zipkin": write one of otlp, none`},
		"unknown protocol":   {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, false, `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json"`},
		"unknown sampler":    {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, false, `OTEL_TRACES_SAMPLER is "jaeger_remote"`},
		"ratio out of range": {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, false, `OTEL_TRACES_SAMPLER_ARG is "2"`},
	} {
		t.Run(name, func(t *testing.T) {
			tracer, err := tracing.New(t.Context(), setenv(t, c.vars), slog.New(slog.DiscardHandler))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || (tracer != nil) != c.on {
				t.Fatalf("%v %v", tracer, err)
			}
			if got := tracer.Record(t.Context(), record(answers.Allowed), from(spanID)); string(got.AppendTraceID(nil)) != traceID {
				t.Errorf("%+v", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_ = tracer.Close(ctx)
		})
	}
}

// A collector that is down costs spans, one line, and no time of a check.
func TestCollectorDown(t *testing.T) {
	var log bytes.Buffer
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	tracer, err := tracing.New(t.Context(), setenv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": web.URL}), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		tracer.Record(t.Context(), record(answers.Allowed), from(spanID))
	}
	if err := tracer.Close(t.Context()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "spans are lost"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
}
