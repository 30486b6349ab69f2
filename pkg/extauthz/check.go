package extauthz

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

var (
	errNoHTTP        = errors.New("the check is about no HTTP request")
	errTwoForms      = errors.New("the check has both headers and header_map")
	errTwoValues     = errors.New("a header has both value and raw_value")
	errSplitRequest  = errors.New("the check has a query or a fragment beside its path")
	errRepeatedField = errors.New("the check has two bodies")
)

// messageOf reads a CheckRequest. Any part may be missing: a TCP check has no
// request at all. What contradicts itself is refused rather than resolved.
func messageOf(check *authv3.CheckRequest) (*Message, error) {
	http := check.GetAttributes().GetRequest().GetHttp()
	if http == nil {
		return nil, errNoHTTP
	}
	// Envoy leaves both empty and sends the whole target as the path.
	if http.GetFragment() != "" || http.GetQuery() != "" && !strings.HasSuffix(http.GetPath(), "?"+http.GetQuery()) {
		return nil, errSplitRequest
	}
	headers, err := headersOf(http)
	if err != nil {
		return nil, err
	}
	m := &Message{
		Method:     http.GetMethod(),
		Host:       http.GetHost(),
		Target:     http.GetPath(),
		Headers:    headers,
		Extensions: check.GetAttributes().GetContextExtensions(),
		Body:       http.GetRawBody(),
	}
	if body := http.GetBody(); body != "" {
		if len(m.Body) > 0 {
			return nil, errRepeatedField
		}
		m.Body, m.BodyText = []byte(body), true
	}
	partial, _ := headers.Get("x-envoy-auth-partial-body")
	m.Partial = partial == "true"
	m.Attributes = func() (any, error) { return attributesOf(check, headers) }
	return m, nil
}

// headersOf reads either form of the header block: the map of joined values,
// or with encode_raw_headers the list of raw lines. Envoy sends one of them.
func headersOf(http *authv3.AttributeContext_HttpRequest) (tenants.Headers, error) {
	raw := http.GetHeaderMap().GetHeaders()
	if len(raw) > 0 && len(http.GetHeaders()) > 0 {
		return nil, errTwoForms
	}
	headers := make(tenants.Headers, 0, len(raw)+len(http.GetHeaders()))
	for name, value := range http.GetHeaders() {
		headers = append(headers, tenants.Header{Name: name, Value: value})
	}
	for _, h := range raw {
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			if value != "" && value != string(h.GetRawValue()) {
				return nil, errTwoValues
			}
			value = string(h.GetRawValue())
		}
		headers = append(headers, tenants.Header{Name: h.GetKey(), Value: value})
	}
	return headers, nil
}

// attributesOf gives the attributes as opa-envoy-plugin's policies know them:
// protojson's names, and the headers as a map even where Envoy sent raw lines.
func attributesOf(check *authv3.CheckRequest, headers tenants.Headers) (any, error) {
	text, err := protojson.Marshal(check.GetAttributes())
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var attributes map[string]any
	if err := decoder.Decode(&attributes); err != nil {
		return nil, err
	}
	if len(check.GetAttributes().GetRequest().GetHttp().GetHeaders()) > 0 || len(headers) == 0 {
		return attributes, nil
	}
	request, _ := attributes["request"].(map[string]any)
	http, ok := request["http"].(map[string]any)
	if !ok {
		return attributes, nil
	}
	http["headers"] = joined(headers)
	return attributes, nil
}

// joined is the header block as Envoy sends it without encode_raw_headers.
func joined(headers tenants.Headers) map[string]any {
	lines := make(map[string][]string, len(headers))
	for _, h := range headers {
		lines[h.Name] = append(lines[h.Name], strings.ToValidUTF8(h.Value, "!"))
	}
	m := make(map[string]any, len(lines))
	for name, values := range lines {
		m[name] = strings.Join(values, ",")
	}
	return m
}
