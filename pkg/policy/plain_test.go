package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// TestPlainIsTheDocument: people see what the policy sees.
func TestPlainIsTheDocument(t *testing.T) {
	claims := map[string]any{"a": []any{"x", map[string]any{"b": nil}}, "empty": map[string]any{}}
	identity := func(claims *jwtverify.Claims) *jwtverify.Identity {
		return &jwtverify.Identity{Subject: "alice", Roles: []string{"editor"}, Claims: claims}
	}
	for name, in := range map[string]Input{
		"nothing":   {},
		"no claims": {Identity: identity(nil)},
		"everything": {
			TenantID: "acme", Identity: identity(jwtverify.NewClaims(claims)), Method: "POST", Host: "h", Segments: []string{"a", "b"},
			RawQuery: "a=1&a=%zz&b&%C3%A9=%ff;&&=x", Headers: []Header{{Name: "x-a", Value: "1"}, {Name: "cookie", Value: "a"}, {Name: "x-a", Value: "\xff"}, {Name: "cookie", Value: "b"}},
			Route: NewRoute(RouteFields{Match: "/", Scopes: []string{"a"}}), Params: []Header{{Name: "id", Value: "1"}},
			Body: Body{ContentType: "application/json", Bytes: []byte(`{"a": [1, 2.50, "x"]}`)},
			Attributes: func() (any, error) {
				return map[string]any{"source": map[string]any{"port": "1"}, "list": []any{true}}, nil
			},
		},
	} {
		all := newReads(func(l *leaf) ([]pick, bool) { return nil, !l.hidden })
		fresh := func() *question { return &question{in: &in, bounds: &bounds{DefaultQueryNames, DefaultObjectNames}} }
		value, err := all.document(fresh())
		if err != nil {
			t.Fatal(err)
		}
		want, err := ast.JSON(value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := all.plain(fresh())
		if diff := cmp.Diff(want, any(got)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}
