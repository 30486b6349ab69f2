// Package tracing tells OpenTelemetry of checks: a span for each, with a child for
// each stage. It is set up by the standard variables of the environment, and off
// unless one of them names an exporter or an endpoint.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/ussoio/ussoauthz/internal/buildinfo"
	"github.com/ussoio/ussoauthz/internal/observe/tracecontext"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Tracer makes spans of checks. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	queue    *queue
	tracer   trace.Tracer
}

// New returns the tracer that an environment asks for, as os.Environ has it: nil
// where it asks for none; the methods of a nil Tracer do nothing. A value that
// can't be used is an error, and a name that is not known a line in the log: the
// SDK would go on with a default.
func New(ctx context.Context, environ []string, log *slog.Logger) (*Tracer, error) {
	env := newSettings(environ)
	if names := env.unused(); len(names) > 0 {
		log.Warn("variables that change nothing here: of OpenTelemetry, traces alone are sent", slog.Any("names", names))
	}
	on, err := enabled(env)
	if err != nil || !on {
		return nil, err
	}
	if err := errors.Join(checkSampler(env), env.check()); err != nil {
		return nil, err
	}
	// What the SDK has to say would go to stderr, between lines of JSON.
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("OpenTelemetry", slog.String("error", err.Error()))
	}))
	exporter, err := newExporter(ctx, env)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "ussoauthz"), attribute.String("service.version", buildinfo.Version())),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv()) // last, so that it wins
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	queue := newQueue(exporter, env, log)
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(queue), sdk.WithResource(about))
	return &Tracer{provider: provider, queue: queue, tracer: provider.Tracer("github.com/ussoio/ussoauthz")}, nil
}

// enabled reads what the Go SDK leaves to programs.
func enabled(env settings) (bool, error) {
	switch v := strings.ToLower(env["OTEL_SDK_DISABLED"]); v {
	case "true":
		return false, nil
	case "", "false":
	default:
		return false, unknown("OTEL_SDK_DISABLED", v, "true", "false")
	}
	switch v := env["OTEL_TRACES_EXPORTER"]; v {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return env["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" || env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] != "", nil
	default:
		return false, unknown("OTEL_TRACES_EXPORTER", v, "otlp", "none")
	}
}

func unknown(name, value string, known ...string) error {
	return fmt.Errorf("%s is %q: write one of %s", name, value, strings.Join(known, ", "))
}

func checkSampler(env settings) error {
	known := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	name := env["OTEL_TRACES_SAMPLER"]
	if name != "" && !slices.Contains(known, name) {
		return unknown("OTEL_TRACES_SAMPLER", name, known...)
	}
	arg := env["OTEL_TRACES_SAMPLER_ARG"]
	if arg == "" || !strings.HasSuffix(name, "traceidratio") {
		return nil
	}
	if ratio, err := strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q: write a number from 0 to 1", arg)
	}
	return nil
}

func newExporter(ctx context.Context, env settings) (*otlptrace.Exporter, error) {
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if env[name] == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
	}
	switch protocol := env[name]; protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	default:
		return nil, unknown(name, protocol, "grpc", "http/protobuf")
	}
}

// Record makes the spans of a check, and returns the context of its own one, or
// where none is kept the one that the request came with. It keeps nothing of r.
func (t *Tracer) Record(ctx context.Context, r *extauthz.Record, from tracecontext.Context) tracecontext.Context {
	if t == nil {
		return from
	}
	parent := nearest(ctx, from)
	at := trace.ContextWithRemoteSpanContext(context.Background(), spanContext(parent))
	at, span := t.tracer.Start(at, "ussoauthz.check", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(r.Start))
	if !span.IsRecording() {
		return from
	}
	span.SetAttributes(attributes(r)...)
	switch r.Answer.Reason {
	case answers.Internal, answers.PolicyError, answers.KeysUnavailable, answers.Overloaded:
		span.SetStatus(codes.Error, string(r.Answer.Reason))
	}
	began := r.Start
	for stage, end := range r.Ends {
		if end == 0 {
			continue
		}
		ended := r.Start.Add(end)
		_, child := t.tracer.Start(at, extauthz.Stage(stage).String(), trace.WithTimestamp(began))
		child.End(trace.WithTimestamp(ended))
		began = ended
	}
	span.End(trace.WithTimestamp(began))
	own := span.SpanContext()
	return tracecontext.Context{TraceID: own.TraceID(), SpanID: own.SpanID(), Sampled: own.IsSampled()}
}

// nearest returns the context that the call itself carries, where it is of the
// request's trace or the request has none: Envoy's own span is nearer to the
// check than the one that its client began.
func nearest(ctx context.Context, request tracecontext.Context) tracecontext.Context {
	var headers tenants.Headers
	for _, name := range []string{"traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"} {
		for _, value := range metadata.ValueFromIncomingContext(ctx, name) {
			headers = append(headers, tenants.Header{Name: name, Value: value})
		}
	}
	call := tracecontext.Of(headers)
	if call.Valid() && (!request.Valid() || call.TraceID == request.TraceID) {
		return call
	}
	return request
}

func spanContext(c tracecontext.Context) trace.SpanContext {
	var flags trace.TraceFlags
	state, err := trace.ParseTraceState(strings.Clone(c.State)) // a span outlives the request
	if err != nil {
		state = trace.TraceState{} // the trace counts, W3C says
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: c.TraceID, SpanID: c.SpanID, TraceFlags: flags.WithSampled(c.Sampled), TraceState: state, Remote: true,
	})
}

// attributes are those of the semantic conventions, and ours. No path: it names
// things that belong to people.
func attributes(r *extauthz.Record) []attribute.KeyValue {
	a := r.Answer
	status := a.Status
	if a.Allowed {
		status = 200
	}
	list := []attribute.KeyValue{
		attribute.Int("http.response.status_code", status),
		attribute.String("ussoauthz.reason", string(a.Reason)),
		attribute.String("ussoauthz.decision_id", a.DecisionID),
	}
	if r.Message != nil {
		list = append(list, attribute.String("http.request.method", method(r.Message.Method)))
	}
	if a.Tenant != "" {
		list = append(list, attribute.String("ussoauthz.tenant", a.Tenant))
	}
	if a.Route != "" {
		list = append(list, attribute.String("http.route", a.Route))
	}
	return list
}

// method is one of those that the conventions know; others could be anything.
func method(name string) string {
	switch name {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return strings.Clone(name)
	}
	return "_OTHER"
}

// Close exports what is waiting, within the time of ctx.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("exporting the last spans: %w", err)
	}
	return nil
}
