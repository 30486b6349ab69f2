package world

import (
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// PublicPath needs no token in any Setup.
const PublicPath = "/open/page"

// Call is an HTTP request that is to be checked.
type Call struct {
	Host, Path, Token string
}

// headers are those of a usual GET of a browser's page, in Envoy's order.
func (c Call) headers(requestID string) [][2]string {
	return [][2]string{
		{":authority", c.Host},
		{":path", c.Path},
		{":method", "GET"},
		{":scheme", "http"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
		{"accept", "application/json, text/plain, */*"},
		{"accept-language", "en-GB,en;q=0.9"},
		{"accept-encoding", "gzip, deflate, br"},
		{"referer", "https://app.example/items"},
		{"authorization", "Bearer " + c.Token},
		{"x-forwarded-for", "192.0.2.17"},
		{"x-forwarded-proto", "http"},
		{"x-request-id", requestID},
	}
}

// Message returns the CheckRequest that Envoy sends for the call, with the
// ext_authz filter set up as envoy/envoy.yaml does.
func (c Call) Message(n int) ([]byte, error) {
	requestID := "5c7f3a0e-0000-4000-8000-" + strconv.Itoa(100000000000+n)
	lines := c.headers(requestID)
	list := make([]*corev3.HeaderValue, len(lines))
	for i, l := range lines {
		list[i] = &corev3.HeaderValue{Key: l[0], RawValue: []byte(l[1])}
	}
	return proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address("192.0.2.17", 40000)},
		Destination: &authv3.AttributeContext_Peer{Address: address("198.51.100.4", 10000)},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.Now(),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: strconv.Itoa(1234567890123456789 + n), Method: "GET", Host: c.Host, Path: c.Path,
				Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: &corev3.HeaderMap{Headers: list},
			},
		},
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}})
}

// HTTP returns the call as a client sends it to Envoy, with the header that
// names its tenant.
func (c Call) HTTP(tenant int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: %s\r\nx-tenant-id: %s\r\n", c.Path, c.Host, tenantOf(tenant))
	for _, l := range c.headers("") {
		switch l[0] {
		case ":authority", ":path", ":method", ":scheme", "x-forwarded-for", "x-forwarded-proto", "x-request-id": // Envoy's
		default:
			fmt.Fprintf(&b, "%s: %s\r\n", l[0], l[1])
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

func address(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
