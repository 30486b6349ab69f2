package extauthz_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// errContradiction: protobuf reads it, and we refuse it.
var errContradiction = errors.New("the check contradicts itself")

// readReference is the reader as it would be with the generated types: what
// ours is compared with.
func readReference(b []byte) (*extauthz.Message, error) {
	var check authv3.CheckRequest
	if err := (proto.UnmarshalOptions{RecursionLimit: extauthz.MaxNesting}).Unmarshal(b, &check); err != nil {
		return nil, err
	}
	http := check.GetAttributes().GetRequest().GetHttp()
	lines := http.GetHeaderMap().GetHeaders()
	switch {
	case http == nil,
		len(lines) > 0 && len(http.GetHeaders()) > 0,
		len(http.GetBody()) > 0 && len(http.GetRawBody()) > 0,
		http.GetFragment() != "",
		http.GetQuery() != "" && !strings.HasSuffix(http.GetPath(), "?"+http.GetQuery()):
		return nil, errContradiction
	}
	m := &extauthz.Message{
		Method: http.GetMethod(), Host: http.GetHost(), Target: http.GetPath(),
		Headers:    httpfield.FromMap(http.GetHeaders()),
		Extensions: httpfield.FromMap(check.GetAttributes().GetContextExtensions()),
		Body:       append(http.GetRawBody(), http.GetBody()...),
		BodyText:   http.GetBody() != "",
	}
	for _, line := range lines {
		value := line.GetValue()
		if raw := string(line.GetRawValue()); raw != "" {
			if value != "" && value != raw {
				return nil, errContradiction
			}
			value = raw
		}
		m.Headers = append(m.Headers, tenants.Header{Name: line.GetKey(), Value: value})
	}
	for _, h := range m.Headers {
		if h.Name == "x-envoy-auth-partial-body" {
			m.Partial = m.Partial || h.Value != "false"
		}
	}
	return m, nil
}

// requireSameReading fails where ours reads a check otherwise than protobuf.
func requireSameReading(t testing.TB, b []byte) {
	t.Helper()
	want, refused := readReference(b)
	got, err := extauthz.ReadCheck(bytes.Clone(b))
	if errors.Is(err, extauthz.ErrManyHeaders) && len(b) > 2*extauthz.MaxHeaders {
		return // a bound that protobuf doesn't have
	}
	if (err == nil) != (refused == nil) {
		t.Fatalf("%x: we say %v, protobuf says %v", b, err, refused)
	}
	if err != nil {
		return
	}
	slices.SortStableFunc(want.Headers, byName) // those of a map come in no order
	slices.SortStableFunc(got.Headers, byName)
	got.Extensions = lastOfEach(got.Extensions)
	for _, c := range []struct{ what, got, want any }{
		{"method", got.Method, want.Method}, {"host", got.Host, want.Host}, {"target", got.Target, want.Target},
		{"headers", fmt.Sprintf("%q", got.Headers), fmt.Sprintf("%q", want.Headers)},
		{"extensions", fmt.Sprintf("%q", got.Extensions), fmt.Sprintf("%q", want.Extensions)},
		{"body", string(got.Body), string(want.Body)}, {"body text", got.BodyText, want.BodyText},
		{"partial", got.Partial, want.Partial},
	} {
		if c.got != c.want {
			t.Fatalf("%x: %v is %v, protobuf reads %v", b, c.what, c.got, c.want)
		}
	}
}

func byName(a, b httpfield.Field) int { return strings.Compare(a.Name, b.Name) }

// lastOfEach is a list of extensions as a map has them.
func lastOfEach(fields []httpfield.Field) []httpfield.Field {
	m := map[string]string{}
	for _, f := range fields {
		m[f.Name] = f.Value
	}
	return httpfield.FromMap(m)
}

// fullCheck sets every field that a CheckRequest has, and some in it that have
// types of their own.
func fullCheck() *authv3.CheckRequest {
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}, Ipv4Compat: true,
	}}}
	nested, err := structpb.NewStruct(map[string]any{"a": []any{1.5, "x", nil, true, map[string]any{"b": "c"}}})
	if err != nil {
		panic(err)
	}
	metadata := &corev3.Metadata{
		FilterMetadata:      map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": nested},
		TypedFilterMetadata: map[string]*anypb.Any{"typed": {TypeUrl: "type.googleapis.com/google.protobuf.BytesValue", Value: []byte{0x0a, 2, 0xff, 0}}},
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address, Service: "edge", Labels: map[string]string{"a": "b"}, Principal: "spiffe://a", Certificate: "pem"},
		Destination: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x", Mode: 0o600}}}},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 5},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "17", Method: "POST", Path: "/posts?a=1", Host: "acme.example", Scheme: "https", Query: "a=1",
				Size: -1, Protocol: "HTTP/2", RawBody: []byte{0xff, 0xfe},
				HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
					{Key: ":path", RawValue: []byte("/posts?a=1")}, {Key: "cookie", RawValue: []byte("a=\xff")}, {Key: "cookie", Value: "b=2"},
					{Key: "x-envoy-auth-partial-body", RawValue: []byte("true")},
				}},
			},
		},
		ContextExtensions:    map[string]string{"tenant": "acme", "": "empty"},
		MetadataContext:      metadata,
		RouteMetadataContext: metadata,
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "acme.example"},
	}}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inHTTP wraps the fields of an HttpRequest into a check.
func inHTTP(fields ...[]byte) []byte {
	b := slices.Concat(fields...)
	for _, number := range []protowire.Number{2, 4, 1} {
		b = wrap(number, b)
	}
	return b
}

func wrap(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func textOf(number protowire.Number, s string) []byte { return wrap(number, []byte(s)) }

func mapEntry(number protowire.Number, key, value string) []byte {
	return wrap(number, slices.Concat(textOf(1, key), textOf(2, value)))
}

func number(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

// nest puts b into n structs of metadata, each of which takes three messages.
func nest(n int) []byte {
	b := slices.Concat(textOf(1, "k"), wrap(2, textOf(3, "v")))
	for range n {
		b = slices.Concat(textOf(1, "k"), wrap(2, wrap(5, wrap(1, b))))
	}
	return wrap(1, wrap(11, wrap(1, slices.Concat(textOf(1, "f"), wrap(2, wrap(1, b))))))
}

// wireCases are what the wire format allows and no encoder writes.
func wireCases(t testing.TB) map[string][]byte {
	t.Helper()
	full := marshal(t, fullCheck())
	group := slices.Concat(protowire.AppendTag(nil, 900, protowire.StartGroupType), number(1, 5), textOf(2, "\xff"),
		protowire.AppendTag(nil, 900, protowire.EndGroupType))
	method := textOf(2, "GET")
	return map[string][]byte{
		"nothing":                          nil,
		"every field":                      full,
		"the last of two":                  inHTTP(textOf(2, "PUT"), textOf(4, "/a"), method, textOf(4, "/b"), textOf(4, "")),
		"a message in parts":               slices.Concat(inHTTP(method), inHTTP(textOf(4, "/")), full),
		"a request in parts":               wrap(1, slices.Concat(wrap(4, wrap(2, method)), wrap(4, wrap(2, textOf(5, "h"))), wrap(4, nil))),
		"a header block in parts":          inHTTP(method, wrap(13, wrap(1, textOf(1, "a"))), wrap(13, wrap(1, textOf(1, "b")))),
		"a key twice":                      inHTTP(mapEntry(3, "a", "1"), mapEntry(3, "b", "2"), mapEntry(3, "a", "3"), mapEntry(3, "a", "")),
		"a key twice in an entry":          inHTTP(wrap(3, slices.Concat(textOf(1, "a"), textOf(2, "1"), textOf(1, "b"), textOf(2, "2")))),
		"an entry without key and value":   inHTTP(method, wrap(3, nil)),
		"a value before its key":           inHTTP(wrap(3, slices.Concat(textOf(2, "1"), textOf(1, "a")))),
		"an extension twice":               slices.Concat(inHTTP(method), wrap(1, slices.Concat(mapEntry(10, "tenant", "acme"), mapEntry(10, "tenant", "globex")))),
		"a line in parts":                  inHTTP(wrap(13, wrap(1, slices.Concat(textOf(1, "a"), textOf(3, "v"), textOf(1, "b"), textOf(3, ""), textOf(2, "w"))))),
		"both values of a line, alike":     inHTTP(wrap(13, wrap(1, slices.Concat(textOf(1, "a"), textOf(2, "v"), textOf(3, "v"))))),
		"both values of a line":            inHTTP(wrap(13, wrap(1, slices.Concat(textOf(1, "a"), textOf(2, "v"), textOf(3, "w"))))),
		"both forms":                       inHTTP(mapEntry(3, "a", "1"), wrap(13, wrap(1, textOf(1, "b")))),
		"an empty header_map beside a map": inHTTP(mapEntry(3, "a", "1"), wrap(13, nil)),
		"both bodies":                      inHTTP(textOf(11, "a"), textOf(12, "b")),
		"both bodies, one taken back":      inHTTP(textOf(11, "a"), textOf(12, "b"), textOf(12, "")),
		"a fragment":                       inHTTP(textOf(8, "f")),
		"a fragment taken back":            inHTTP(textOf(8, "f"), textOf(8, "")),
		"a query of its own":               inHTTP(textOf(4, "/a"), textOf(7, "b=1")),
		"unknown fields":                   slices.Concat(number(99, 1), inHTTP(number(99, 1), textOf(77, "\xff"), method), textOf(100_000, "x")),
		"a group":                          inHTTP(group, method),
		"a group in an entry":              inHTTP(wrap(3, slices.Concat(textOf(1, "a"), group))),
		"a group that does not end":        inHTTP(method, protowire.AppendTag(nil, 900, protowire.StartGroupType)),
		"the end of no group":              inHTTP(method, protowire.AppendTag(nil, 900, protowire.EndGroupType)),
		"another wire type":                inHTTP(number(2, 7), method, number(3, 7), number(13, 1), textOf(9, "seven")),
		"an HTTP request that is a number": wrap(1, wrap(4, number(2, 1))),
		"an entry's key that is a number":  inHTTP(wrap(3, slices.Concat(number(1, 5), textOf(2, "v")))),
		"a number of ten bytes too large":  inHTTP(method, []byte{0x48, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}),
		"a longer spelling of a tag":       inHTTP([]byte{0x92, 0x80, 0x00, 3, 'G', 'E', 'T'}),
		"field number 0":                   inHTTP([]byte{0x02, 0}),
		"a field number that is too large": inHTTP(protowire.AppendVarint(nil, 1<<32)),
		"a reserved wire type":             inHTTP([]byte{0x17}),
		"cut":                              full[:len(full)-3],
		"a length beyond the end":          inHTTP([]byte{0x12, 9, 'G'}),
		"a method that is not UTF-8":       inHTTP(textOf(2, "\xff")),
		"a raw body that is not UTF-8":     inHTTP(textOf(12, "\xff")),
		"a body that is not UTF-8":         inHTTP(textOf(11, "\xff")),
		"a header's name that is not":      inHTTP(mapEntry(3, "\xff", "")),
		"a line's raw value that is not":   inHTTP(wrap(13, wrap(1, slices.Concat(textOf(1, "a"), textOf(3, "\xff"))))),
		"a line's value that is not":       inHTTP(wrap(13, wrap(1, textOf(2, "\xff")))),
		"a label that is not UTF-8":        slices.Concat(inHTTP(method), wrap(1, wrap(1, mapEntry(3, "a", "\xff")))),
		"a string of metadata that is not": slices.Concat(inHTTP(method), wrap(1, wrap(11, wrap(1, slices.Concat(textOf(1, "f"), wrap(2, mapEntry(1, "k", "\x1a\x01\xff"))))))),
		"an SNI that is not UTF-8":         slices.Concat(inHTTP(method), wrap(1, wrap(12, textOf(1, "\xff")))),
		"nested as deep as it may be":      slices.Concat(inHTTP(method), nest(23)),
		"nested too deep":                  slices.Concat(inHTTP(method), nest(40)),
	}
}

func TestWireAsProtobuf(t *testing.T) {
	for name, b := range wireCases(t) {
		t.Run(name, func(t *testing.T) { requireSameReading(t, b) })
	}
}

// What is in a message, and not only that both readers agree about it.
func TestReadCheck(t *testing.T) {
	m, err := extauthz.ReadCheck(marshal(t, fullCheck()))
	if err != nil {
		t.Fatal(err)
	}
	if m.Method != "POST" || m.Host != "acme.example" || m.Target != "/posts?a=1" || string(m.Body) != "\xff\xfe" || !m.Partial ||
		len(m.Headers) != 4 || m.Headers[1] != (tenants.Header{Name: "cookie", Value: "a=\xff"}) || m.Headers[2].Value != "b=2" ||
		len(m.Extensions) != 2 {
		t.Errorf("%+v", m)
	}
	attributes, err := m.Attributes()
	if err != nil || attributes.(map[string]any)["tlsSession"].(map[string]any)["sni"] != "acme.example" {
		t.Errorf("attributes %v: %v", attributes, err)
	}
	cases := wireCases(t)
	for name, want := range map[string]error{
		"nothing": extauthz.ErrNoHTTP, "cut": extauthz.ErrNoMessage, "nested too deep": extauthz.ErrNesting, "both forms": extauthz.ErrTwoForms,
		"both values of a line": extauthz.ErrTwoValues, "both bodies": extauthz.ErrTwoBodies, "a fragment": extauthz.ErrSplitRequest,
		"a query of its own": extauthz.ErrSplitRequest, "an SNI that is not UTF-8": extauthz.ErrUTF8,
	} {
		b, ok := cases[name]
		if _, err := extauthz.ReadCheck(b); !errors.Is(err, want) || !ok {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := extauthz.ReadCheck(cases["nested as deep as it may be"]); err != nil {
		t.Error(err)
	}
	for _, entry := range [][]byte{mapEntry(3, "a", "1"), wrap(13, wrap(1, textOf(1, "a")))} {
		for n, want := range map[int]error{extauthz.MaxHeaders: nil, extauthz.MaxHeaders + 1: extauthz.ErrManyHeaders} {
			if _, err := extauthz.ReadCheck(inHTTP(slices.Repeat(entry, n))); !errors.Is(err, want) {
				t.Errorf("%d times %q: %v, want %v", n, entry, err, want)
			}
		}
	}
}

// FuzzReadCheck compares with protobuf's own decoder: what it accepts we read
// alike, and what it refuses we refuse.
func FuzzReadCheck(f *testing.F) {
	w := newWorld(f)
	seeds := 0
	add := func(b []byte) {
		f.Add(b)
		seeds++
	}
	for _, a := range readAttacks(f) {
		add(a.bytes(f, w, true))
		if !a.Raw {
			add(a.bytes(f, w, false))
		}
	}
	for _, b := range wireCases(f) {
		add(b)
	}
	if seeds < 150 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, b []byte) { requireSameReading(t, b) })
}

// Mutations of checks that are nearly right reach what random bytes do not.
func TestWireMutations(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var seeds [][]byte
	for _, b := range wireCases(t) {
		seeds = append(seeds, b)
	}
	slices.SortFunc(seeds, bytes.Compare)
	accepted := 0
	for range 50_000 {
		b := bytes.Clone(seeds[random.IntN(len(seeds))])
		for range random.IntN(3) {
			other := seeds[random.IntN(len(seeds))]
			switch {
			case len(b) == 0 || random.IntN(3) == 0:
				b = append(b, other...)
			case random.IntN(2) == 0:
				b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			default:
				i := random.IntN(len(b))
				b = slices.Insert(b, i, b[i:i+random.IntN(len(b)-i)]...)
			}
		}
		requireSameReading(t, b)
		if _, err := readReference(b); err == nil {
			accepted++
		}
	}
	if accepted < 5_000 {
		t.Errorf("only %d of the checks were accepted", accepted)
	}
}
