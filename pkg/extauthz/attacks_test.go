package extauthz_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// attack is one vector: a check and the reason that it must be answered with.
// Without anything said it is GET /me of acme, with alice's token.
type attack struct {
	Name string         `yaml:"name"`
	Why  string         `yaml:"why"`
	Want answers.Reason `yaml:"want"`

	Method     *string           `yaml:"method"`
	Target     *string           `yaml:"target"`
	Host       *string           `yaml:"host"`
	Headers    [][2]string       `yaml:"headers"` // ${name} is a token; ÿ in a raw line is the byte 0xff
	Anonymous  bool              `yaml:"anonymous"`
	Raw        bool              `yaml:"raw"` // only as raw lines; else both forms are tried
	Extensions map[string]string `yaml:"extensions"`

	Bytes         *string `yaml:"bytes"` // hexadecimal, instead of all else
	TCP           bool    `yaml:"tcp"`
	Unknown       bool    `yaml:"unknown"`
	BothForms     bool    `yaml:"both_forms"`
	TwoValues     bool    `yaml:"two_values"`
	ManyHeaders   int     `yaml:"many_headers"`
	ManyCookies   int     `yaml:"many_cookies"`
	HugeToken     int     `yaml:"huge_token"`
	LongTarget    int     `yaml:"long_target"`
	Fragment      string  `yaml:"fragment"`
	Query         string  `yaml:"query"`
	SourceService string  `yaml:"source_service"`

	Sets    map[string]string `yaml:"sets"`    // identity headers that the upstream must get; nil: not looked at
	Removes []string          `yaml:"removes"` // headers that must be removed
}

// known are the expectations that a vector can have.
var known = []answers.Reason{
	answers.Allowed, answers.InvalidRequest, answers.InvalidTenant, answers.TokenNotFound, answers.TokenExpired,
	answers.TokenInvalid, answers.InsufficientRole, answers.InsufficientScope, answers.NoRoute, answers.WorkspaceMismatch,
}

func readAttacks(t testing.TB) map[string]attack {
	t.Helper()
	files, err := filepath.Glob("testdata/attacks/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no attack files: %v", err)
	}
	all := map[string]attack{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		var list []attack
		if err := decoder.Decode(&list); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := decoder.Decode(new(any)); err != io.EOF {
			t.Fatalf("%s: more than one document", file)
		}
		for _, a := range list {
			name := strings.TrimSuffix(filepath.Base(file), ".yaml") + "/" + a.Name
			if _, twice := all[name]; twice || a.Name == "" || a.Why == "" || !slices.Contains(known, a.Want) {
				t.Fatalf("%s: a vector that is there twice, says no why, or expects %q", name, a.Want)
			}
			all[name] = a
		}
	}
	return all
}

// Every vector goes over a real gRPC connection, in both forms of the header
// block where both can carry it.
func TestAttacks(t *testing.T) {
	w := newWorld(t)
	server := extauthz.NewServer(extauthz.ServerConfig{})
	server.Use(w.authorizer(t, policy.Config{}))
	conn := serve(t, server)
	for name, a := range readAttacks(t) {
		t.Run(name, func(t *testing.T) {
			for _, raw := range []bool{false, true} {
				if a.Raw && !raw {
					continue
				}
				response, err := checkBytes(t.Context(), conn, a.bytes(t, w, raw))
				if err != nil {
					t.Fatal(err)
				}
				requireSound(t, response)
				if got := reasonOf(response); got != a.Want {
					t.Errorf("raw lines %v: reason %q, want %q (%s)", raw, got, a.Want, a.Why)
				}
				a.checkHeaders(t, response)
			}
		})
	}
}

func (a attack) bytes(t testing.TB, w *world, raw bool) []byte {
	t.Helper()
	if a.Bytes != nil {
		b, err := hex.DecodeString(*a.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b, err := proto.Marshal(a.check(w, raw))
	if err != nil {
		t.Fatal(err)
	}
	if a.Unknown {
		b = protowire.AppendTag(b, 9999, protowire.BytesType)
		b = protowire.AppendBytes(b, []byte("from the future"))
	}
	return b
}

func (a attack) check(w *world, raw bool) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Method: or(a.Method, "GET"), Host: or(a.Host, "acme.example"), Path: or(a.Target, "/me"),
		Fragment: a.Fragment, Query: a.Query, Protocol: "HTTP/2", Scheme: "https",
	}
	if a.LongTarget > 0 {
		http.Path = "/files/" + strings.Repeat("a", a.LongTarget)
	}
	a.setHeaders(http, a.lines(w, raw), raw)
	attributes := &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Service: a.SourceService},
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: a.Extensions,
	}
	if a.TCP {
		attributes.Request = nil
	}
	return &authv3.CheckRequest{Attributes: attributes}
}

func or(s *string, fallback string) string {
	if s == nil {
		return fallback
	}
	return *s
}

func (a attack) lines(w *world, raw bool) [][2]string {
	lines := slices.Clone(a.Headers)
	credential := a.Anonymous || a.ManyCookies > 0 || a.HugeToken > 0
	for i, line := range lines {
		name := strings.ToLower(line[0])
		credential = credential || name == "authorization" || name == "cookie"
		for token, value := range w.tokens {
			lines[i][1] = strings.ReplaceAll(lines[i][1], "${"+token+"}", value)
		}
		if raw {
			lines[i][1] = strings.ReplaceAll(lines[i][1], "ÿ", "\xff")
		}
	}
	if !credential {
		lines = append(lines, [2]string{"authorization", "Bearer " + w.tokens["alice"]})
	}
	for i := range a.ManyHeaders {
		lines = append(lines, [2]string{fmt.Sprintf("x-%d", i), "1"})
	}
	if a.ManyCookies > 0 {
		lines = append(lines, [2]string{"cookie", strings.Repeat("a=1; ", a.ManyCookies)})
	}
	if a.HugeToken > 0 {
		lines = append(lines, [2]string{"authorization", "Bearer " + strings.Repeat("a", a.HugeToken)})
	}
	return lines
}

func (a attack) setHeaders(http *authv3.AttributeContext_HttpRequest, lines [][2]string, raw bool) {
	if raw || a.BothForms || a.TwoValues {
		http.HeaderMap = &corev3.HeaderMap{}
		for _, line := range lines {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: line[0], RawValue: []byte(line[1])})
		}
	}
	if a.TwoValues {
		http.HeaderMap.Headers[0].Value = "another"
	}
	if !raw && !a.TwoValues || a.BothForms {
		http.Headers = map[string]string{}
		for _, line := range lines {
			http.Headers[line[0]] = line[1]
		}
	}
}

func (a attack) checkHeaders(t *testing.T, response *authv3.CheckResponse) {
	t.Helper()
	ok := response.GetOkResponse()
	if a.Sets != nil {
		got := map[string]string{}
		for _, h := range ok.GetHeaders() {
			got[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		}
		for name, want := range a.Sets {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		if len(a.Sets) == 0 && len(got) > 0 {
			t.Errorf("sets %v for nobody", got)
		}
	}
	for _, name := range a.Removes {
		if !slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("%s is not removed: %v", name, ok.GetHeadersToRemove())
		}
	}
}

// requireSound holds for every answer there can be: Envoy allows by the status
// code alone, sets before it removes, and appends unless it is told not to.
func requireSound(t testing.TB, response *authv3.CheckResponse) {
	t.Helper()
	allowed := response.GetOkResponse() != nil
	if response.GetStatus() == nil || (response.GetStatus().GetCode() == 0) != allowed || allowed != (reasonOf(response) == answers.Allowed) {
		t.Fatalf("an ambiguous answer: %v", response)
	}
	denied := response.GetDeniedResponse()
	if allowed == (denied != nil) || response.GetErrorResponse() != nil {
		t.Fatalf("an answer that is both or neither: %v", response)
	}
	if denied != nil && (denied.GetStatus().GetCode() < 200 || len(denied.GetBody()) == 0) {
		t.Fatalf("a denial without status or body: %v", denied)
	}
	for _, h := range slices.Concat(response.GetOkResponse().GetHeaders(), denied.GetHeaders()) {
		//lint:ignore SA1019 deprecated, and still what Envoys read first
		if h.GetAppend() == nil || h.GetAppend().GetValue() || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Fatalf("a header that does not overwrite: %v", h)
		}
		if h.GetHeader().GetValue() == "" || h.GetHeader().GetKey() == "" {
			t.Fatalf("an empty header: %v", h)
		}
		if slices.Contains(response.GetOkResponse().GetHeadersToRemove(), h.GetHeader().GetKey()) {
			t.Fatalf("%s is set and removed", h.GetHeader().GetKey())
		}
	}
	for _, key := range []string{"decision_id", "tenant", "reason", "sub", "workspace_id", "policy_revision"} {
		if response.GetDynamicMetadata().GetFields()[key] == nil {
			t.Fatalf("no %s in the metadata", key)
		}
	}
}

func reasonOf(response *authv3.CheckResponse) answers.Reason {
	return answers.Reason(response.GetDynamicMetadata().GetFields()["reason"].GetStringValue())
}

func decodeResponse(b []byte) (*authv3.CheckResponse, error) {
	response := &authv3.CheckResponse{}
	return response, proto.Unmarshal(b, response)
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// unsigned is a genuine token's claims under alg none.
func unsigned(token string) string {
	return segment(`{"alg":"none"}`) + "." + strings.Split(token, ".")[1] + "." + segment("x")
}

// confused is signed with the public key as an HMAC secret.
func confused(t testing.TB, issuer *jwttest.Issuer) string {
	t.Helper()
	header, payload := segment(`{"alg":"HS256","kid":"acme"}`), strings.Split(mint(t, issuer, claims(nil)), ".")[1]
	return header + "." + payload + "." + hmacSHA256(issuer.PublicPEM(jwtverify.EdDSA), header+"."+payload)
}

// Over the message limit grpc-go answers by itself: the transport's error is
// the only one there is.
func TestMessageLimit(t *testing.T) {
	server := extauthz.NewServer(extauthz.ServerConfig{})
	conn := serve(t, server, grpc.MaxRecvMsgSize(1<<20))
	if _, err := checkBytes(t.Context(), conn, make([]byte, 1<<20+1)); err == nil || !strings.Contains(err.Error(), "ResourceExhausted") {
		t.Errorf("got %v", err)
	}
}
