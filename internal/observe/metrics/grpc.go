package metrics

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// calls counts the calls of a gRPC server, under the names that
// go-grpc-middleware made common. It wraps the handlers: a stats.Handler costs
// 17 allocations for each call, and an interceptor would lead checks away from
// the codec that reads them.
type calls struct {
	methods []*method
	unknown method // calls that no method takes
}

// method counts the calls of one.
type method struct {
	labels  [3]string // type, service, name
	started atomic.Uint64
	handled [codes.Unauthenticated + 1]atomic.Uint64
}

var (
	callsStarted = desc("grpc_server_started_total", "Calls that reached a handler.", "grpc_type", "grpc_service", "grpc_method")
	callsHandled = desc("grpc_server_handled_total", "Calls that a handler ended, by the code that it gave.", "grpc_type", "grpc_service", "grpc_method", "grpc_code")
)

func newCalls() *calls { return &calls{unknown: method{labels: [3]string{other, other, other}}} }

// Registrar counts the calls of every service that is registered through it. All
// must be, before the first scrape. A nil Metrics counts nothing.
func (m *Metrics) Registrar(next grpc.ServiceRegistrar) grpc.ServiceRegistrar {
	if m == nil {
		return next
	}
	return registrar{next, m.calls}
}

// UnknownMethod is the grpc.StreamHandler of what is not registered. An Envoy of
// another version of the API asks for such a method.
func (m *Metrics) UnknownMethod(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream) // "" names nothing
	err := status.Errorf(codes.Unimplemented, "unknown method %s", name)
	if m != nil {
		m.calls.unknown.started.Add(1)
		m.calls.unknown.ended(err)
	}
	return err
}

type registrar struct {
	next  grpc.ServiceRegistrar
	calls *calls
}

// RegisterService is for grpc.ServiceRegistrar.
func (r registrar) RegisterService(described *grpc.ServiceDesc, impl any) {
	counted := *described
	counted.Methods = make([]grpc.MethodDesc, len(described.Methods))
	for i, d := range described.Methods {
		counted.Methods[i] = r.calls.add(described.ServiceName, "unary", d.MethodName).unary(d)
	}
	counted.Streams = make([]grpc.StreamDesc, len(described.Streams))
	for i, d := range described.Streams {
		counted.Streams[i] = r.calls.add(described.ServiceName, streamType(d), d.StreamName).stream(d)
	}
	r.next.RegisterService(&counted, impl)
}

func (c *calls) add(service, kind, name string) *method {
	m := &method{labels: [3]string{kind, service, name}}
	c.methods = append(c.methods, m)
	return m
}

func streamType(d grpc.StreamDesc) string {
	switch {
	case d.ClientStreams && d.ServerStreams:
		return "bidi_stream"
	case d.ClientStreams:
		return "client_stream"
	}
	return "server_stream"
}

func (m *method) unary(d grpc.MethodDesc) grpc.MethodDesc {
	handle := d.Handler
	d.Handler = func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		m.started.Add(1)
		reply, err := handle(srv, ctx, decode, intercept)
		m.ended(err)
		return reply, err
	}
	return d
}

func (m *method) stream(d grpc.StreamDesc) grpc.StreamDesc {
	handle := d.Handler
	d.Handler = func(srv any, stream grpc.ServerStream) error {
		m.started.Add(1)
		err := handle(srv, stream)
		m.ended(err)
		return err
	}
	return d
}

// ended counts what the caller is told of an error.
func (m *method) ended(err error) {
	code := status.Code(err)
	if int(code) >= len(m.handled) {
		code = codes.Unknown
	}
	m.handled[code].Add(1)
}

// Describe is for prometheus.Collector.
func (c *calls) Describe(to chan<- *prometheus.Desc) {
	to <- callsStarted
	to <- callsHandled
}

// Collect is for prometheus.Collector. Of the codes it shows OK, and those that
// were given.
func (c *calls) Collect(to chan<- prometheus.Metric) {
	for _, m := range append(c.methods[:len(c.methods):len(c.methods)], &c.unknown) {
		counter := func(d *prometheus.Desc, v uint64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append(m.labels[:], labels...)...)
		}
		for code := range m.handled {
			if n := m.handled[code].Load(); n > 0 || codes.Code(code) == codes.OK && m != &c.unknown {
				counter(callsHandled, n, codes.Code(code).String())
			}
		}
		counter(callsStarted, m.started.Load()) // after what it ends in: never less than those
	}
}
