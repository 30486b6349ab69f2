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
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/internal/observe/tracing"
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
	partial   *collector.ExportTracePartialSuccess
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
	return &collector.ExportTraceServiceResponse{PartialSuccess: r.partial}, nil
}

func (r *receiver) answer(partial *collector.ExportTracePartialSuccess) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = partial
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var message collector.ExportTraceServiceRequest
	if err != nil || request.URL.Path != "/v1/traces" || proto.Unmarshal(body, &message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer, _ := r.Export(request.Context(), &message)
	text, _ := proto.Marshal(answer)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(text)
}

// setenv sets variables for a test and returns the environment.
func setenv(t *testing.T, vars map[string]string) []string {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
	return os.Environ()
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
		"no URL":             {map[string]string{endpoint: "collector:4318"}, false, endpoint + " is no URL of a collector: write http://host:4318, or https://"},
		"no host":            {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http:///v1"}, false, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no URL of a collector"},
		"no time":            {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, false, "OTEL_EXPORTER_OTLP_TIMEOUT is no time: write milliseconds"},
		"no delay":           {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "0"}, false, "OTEL_BSP_SCHEDULE_DELAY is no time"},
		"no queue":           {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, false, "OTEL_BSP_MAX_QUEUE_SIZE is no number of spans: write one from 1 to"},
		"no limit":           {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}, false, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is no whole number"},
		"no headers":         {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "authorization: s3cret"}, false, "OTEL_EXPORTER_OTLP_HEADERS is no list of headers"},
		"no encoding":        {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "a=%zz"}, false, "OTEL_EXPORTER_OTLP_HEADERS is no list of headers"},
		"headers":            {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret, x-a=b"}, true, ""},
		"unknown packing":    {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, false, "OTEL_EXPORTER_OTLP_COMPRESSION is unknown: write one of gzip, none"},
		"insecure or not":    {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_INSECURE": "yes"}, false, "OTEL_EXPORTER_OTLP_INSECURE is unknown: write one of true, false"},
		"absent authorities": {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/absent.pem"}, false, "OTEL_EXPORTER_OTLP_CERTIFICATE can't be read: open /absent.pem"},
		"junk authorities":   {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_CERTIFICATE": "tracing.go"}, false, "OTEL_EXPORTER_OTLP_CERTIFICATE names tracing.go, which holds no certificate in PEM"},
		"half a certificate": {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "key.pem"}, false, "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY go together"},
		"junk certificate":   {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "tracing.go", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "tracing.go"}, false, "are no certificate and its key"},
		"broken attributes":  {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_RESOURCE_ATTRIBUTES": "zone"}, false, "OTEL_RESOURCE_ATTRIBUTES: "},
		"faults of one off":  {map[string]string{endpoint: "junk", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		"ratio out of range": {map[string]string{endpoint: "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, false, `OTEL_TRACES_SAMPLER_ARG is "2"`},
	} {
		t.Run(name, func(t *testing.T) {
			tracer, err := tracing.New(t.Context(), setenv(t, c.vars), slog.New(slog.DiscardHandler))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || (tracer != nil) != c.on {
				t.Fatalf("%v %v", tracer, err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("it tells too much: %v", err)
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

// All faults are told together, and what changes nothing is a line in the log,
// with tracing or without: it is often a slip of the pen in what would switch it
// on. What Kubernetes says of a Service is none.
func TestUnusedSettings(t *testing.T) {
	var log bytes.Buffer
	tracer, err := tracing.New(t.Context(), setenv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPIONT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "none",
		"OTEL_COLLECTOR_SERVICE_HOST": "10.0.0.1", "OTEL_COLLECTOR_PORT_4318_TCP_ADDR": "10.0.0.1", "OTEL_COLLECTOR_PORT": "tcp://10.0.0.1:4318",
	}), slog.New(slog.NewTextHandler(&log, nil)))
	if tracer != nil || err != nil {
		t.Errorf("%v %v", tracer, err)
	}
	if !strings.Contains(log.String(), `names="[OTEL_EXPORTER_OTLP_ENDPIONT OTEL_METRICS_EXPORTER]"`) || strings.Count(log.String(), "\n") != 1 {
		t.Error(log.String())
	}
	_, err = tracing.New(t.Context(), setenv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon", "OTEL_TRACES_SAMPLER": "none",
	}), slog.New(slog.DiscardHandler))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not three faults: %v", err)
	}
}

// What a collector refuses of a batch is lost, what it takes is not, and its
// remarks go to the log, as everything that the SDK has to say.
func TestPartialSuccess(t *testing.T) {
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
			var log bytes.Buffer
			tracer, err := tracing.New(t.Context(), setenv(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_BSP_SCHEDULE_DELAY": "10",
			}), slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			const each = 4 // spans of a check
			for i, partial := range []*collector.ExportTracePartialSuccess{
				{ErrorMessage: "a label is old"},
				{ErrorMessage: "a label is old"},
				{RejectedSpans: 3, ErrorMessage: "too many (9 spans rejected)"},
				nil,
			} {
				c.receiver.answer(partial)
				tracer.Record(t.Context(), record(answers.Allowed), from(spanID))
				for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
					s := tracer.Stats()
					if s.Exported+s.Failed == int64(each*(i+1)) {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("%+v", s)
					}
				}
			}
			if got := tracer.Stats(); got.Failed != 3 || got.Exported != 4*each-3 {
				t.Errorf("%+v", got)
			}
			otel.Handle(errors.New("of the SDK"))
			if err := tracer.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for part, times := range map[string]int{
				"takes spans with a remark": 1, "a label is old": 1, "spans are lost": 1, "too many (9 spans": 1, "exported again": 1, "of the SDK": 1,
			} {
				if got := strings.Count(log.String(), part); got != times {
					t.Errorf("%q is %d times in\n%s", part, got, &log)
				}
			}
		})
	}
}

// A collector that is down costs spans, counted, one line when it begins and one
// when it ends, and no time of a check. Spans that find no place while it is
// slow are counted too.
func TestCollectorDown(t *testing.T) {
	var log bytes.Buffer
	var up atomic.Bool
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		if !up.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer web.Close()
	tracer, err := tracing.New(t.Context(), setenv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": web.URL, "OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10", "OTEL_BSP_SCHEDULE_DELAY": "10",
	}), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const checks, each = 300, 4 // spans
	for range checks {
		tracer.Record(t.Context(), record(answers.Allowed), from(spanID))
	}
	if got := tracer.Stats(); got != (tracing.Stats{Full: checks*each - 100}) {
		t.Errorf("while nobody answers: %+v", got)
	}
	close(release)
	reach := func(want tracing.Stats) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); tracer.Stats() != want; {
			if time.Now().After(deadline) {
				t.Fatalf("%+v, want %+v", tracer.Stats(), want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	reach(tracing.Stats{Full: checks*each - 100, Failed: 100})
	up.Store(true)
	tracer.Record(t.Context(), record(answers.Allowed), from(spanID))
	reach(tracing.Stats{Full: checks*each - 100, Failed: 100, Exported: each})
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "spans are lost") != 1 || strings.Count(log.String(), "exported again") != 1 {
		t.Error(log.String())
	}
	if got := (*tracing.Tracer)(nil).Stats(); got != (tracing.Stats{}) {
		t.Errorf("%+v", got)
	}
}
