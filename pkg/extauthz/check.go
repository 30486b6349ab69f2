package extauthz

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// attributesOf gives the attributes as opa-envoy-plugin's policies know them:
// protojson's names, and the headers as a map even where Envoy sent raw lines.
// The generated types are built here alone.
func attributesOf(b []byte, headers tenants.Headers) (any, error) {
	var check authv3.CheckRequest
	unread := proto.Unmarshal(b, &check)
	text, unwritten := protojson.Marshal(check.GetAttributes())
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var attributes map[string]any
	if err := errors.Join(unread, unwritten, decoder.Decode(&attributes)); err != nil {
		return nil, err
	}
	request, _ := attributes["request"].(map[string]any)
	if http, ok := request["http"].(map[string]any); ok && len(headers) > 0 {
		http["headers"] = joined(headers)
	}
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
