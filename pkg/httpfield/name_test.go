package httpfield_test

import (
	"testing"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

func TestSameName(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"x-org", "x-org", true}, {"x-org", "x_org", true}, {"x.org", "x~org", true}, {"", "", true},
		{"x-org", "xorg", false}, {"x-org", "x-orgs", false}, {"x-org", "x0org", false}, {"xaorg", "x-org", false}, {"x-org", "x-ord", false},
	} {
		if got := httpfield.SameName(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %v", tt.a, tt.b, got)
		}
	}
}
