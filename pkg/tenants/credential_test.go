package tenants_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

type credentialVector struct {
	Name   string
	Source *struct {
		Header, Cookie string
		Prefix         *string
	}
	Headers [][2]string
	Repeat  string // put Times times behind the last header's value
	Times   int
	Expect  string
	Token   string
}

func (v credentialVector) source() tenants.TokenSource {
	if v.Source == nil {
		return tenants.TokenSource{Header: "Authorization", Cookie: "t"}
	}
	return tenants.TokenSource{Header: v.Source.Header, Prefix: v.Source.Prefix, Cookie: v.Source.Cookie}
}

func (v credentialVector) headers() tenants.Headers {
	h := headers(v.Headers)
	if v.Times > 0 {
		h[len(h)-1].Value += strings.Repeat(v.Repeat, v.Times)
	}
	return h
}

func TestCredential(t *testing.T) {
	for _, v := range vectors[credentialVector](t, "credentials.json") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := v.source().Credential(v.headers())
			if v.Token == "" && v.Times > 0 && v.Expect == "header" {
				v.Token = strings.Repeat(v.Repeat, v.Times)
			}
			var want tenants.Credential
			var wantErr error
			switch v.Expect {
			case "none":
			case "header":
				want = tenants.Credential{Token: v.Token, Header: true}
			case "cookie":
				want = tenants.Credential{Token: v.Token, Cookie: true}
			case "both":
				want = tenants.Credential{Token: v.Token, Header: true, Cookie: true}
			case "ambiguous":
				wantErr = tenants.ErrAmbiguous
			case "malformed":
				wantErr = tenants.ErrMalformed
			default:
				t.Fatalf("unknown expectation %q", v.Expect)
			}
			if (want.Token == "") != (v.Expect == "none" || wantErr != nil) {
				t.Fatal("a vector that finds a token names it, no other does")
			}
			if got != want || !errors.Is(err, wantErr) {
				t.Errorf("got %.80v, %v; want %.80v, %v", got, err, want, wantErr)
			}
		})
	}
}

func TestCredentialErrorsKeepTheSecret(t *testing.T) {
	source := tenants.TokenSource{Header: "Authorization", Cookie: "t"}
	for _, h := range [][][2]string{
		{{"authorization", "Bearer SECRET SECRET"}},
		{{"authorization", "Bearer SECRET"}, {"cookie", "t=OTHERSECRET"}},
		{{"cookie", "t=SECRET,SECRET"}},
		{{"cookie", "t=SECRET; t=SECRET2"}},
	} {
		_, err := source.Credential(headers(h))
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v: %v", h, err)
		}
	}
}

func TestStrip(t *testing.T) {
	tests := []struct {
		name    string
		cookies []string
		cookie  string
		keep    bool
	}{
		{"no header", nil, "", false},
		{"ours alone", []string{"t=a"}, "", false},
		{"nothing of ours", []string{"x=1;y=2"}, "x=1;y=2", true},
		{"between others", []string{"x=1; t=a; y=2"}, "x=1; y=2", true},
		{"every one of ours", []string{"t=a; x=1; t=b;t=\"c\""}, "x=1", true},
		{"spelt with blanks", []string{"x=1; t = a"}, "x=1", true},
		{"crumbs", []string{"x=1", "t=a", "y=2"}, "x=1; y=2", true},
		{"crumbs of others", []string{"x=1", "y=2"}, "x=1; y=2", true},
		{"names like ours", []string{"T=1; tt=2; t"}, "T=1; tt=2; t", true},
		{"empty", []string{""}, "", false},
		{"junk", []string{";; t=a ;;"}, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var h tenants.Headers
			for _, c := range test.cookies {
				h = append(h, tenants.Header{Name: "accept", Value: "t=a"}, tenants.Header{Name: "cookie", Value: c})
			}
			cookie, keep := tenants.TokenSource{Header: "Authorization", Cookie: "t"}.Strip(h)
			if diff := cmp.Diff([]any{test.cookie, test.keep}, []any{cookie, keep}); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("no cookie configured", func(t *testing.T) {
		h := headers([][2]string{{"cookie", "t=a; =b"}})
		if cookie, keep := (tenants.TokenSource{}).Strip(h); cookie != "t=a; =b" || !keep {
			t.Errorf("got %q, %v", cookie, keep)
		}
	})
}

func TestCredentialAllocations(t *testing.T) {
	source := tenants.TokenSource{Header: "Authorization", Cookie: "access_token"}
	h := headers([][2]string{
		{"accept", "*/*"}, {"authorization", "Bearer aaaa.bbbb.cccc"}, {"cookie", `x=1; access_token="aaaa.bbbb.cccc"; y=2`},
	})
	n := testing.AllocsPerRun(100, func() {
		if c, err := source.Credential(h); err != nil || !c.Header || !c.Cookie {
			t.Fatal(c, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const maxSeed = 1 << 14

func FuzzCredential(f *testing.F) {
	for _, v := range vectors[credentialVector](f, "credentials.json") {
		if v.Times > maxSeed {
			continue // the engine would spend its time on copying it
		}
		var line [2]string
		for _, h := range v.headers() {
			if i := map[string]int{"authorization": 1, "cookie": 2}[h.Name]; i > 0 {
				line[i-1] = h.Value
			}
		}
		f.Add(line[0], line[1])
	}
	source := tenants.TokenSource{Header: "Authorization", Cookie: "t"}
	f.Fuzz(func(t *testing.T, authorization, cookie string) {
		h := headers([][2]string{{"authorization", authorization}, {"cookie", cookie}})
		got, err := source.Credential(h)
		switch {
		case err != nil && (got != tenants.Credential{} || !errors.Is(err, tenants.ErrAmbiguous) && !errors.Is(err, tenants.ErrMalformed)):
			t.Errorf("got %v, %v", got, err)
		case (got.Token != "") != (got.Header || got.Cookie):
			t.Errorf("got %v", got)
		case strings.ContainsAny(got.Token, " \t\r\n\x00\",;"):
			t.Errorf("token %q", got.Token)
		case got.Header && !strings.HasSuffix(authorization, " "+got.Token):
			t.Errorf("token %q is not that of header %q", got.Token, authorization)
		case got.Cookie && !strings.Contains(cookie, "t="):
			t.Errorf("token %q is not that of cookie %q", got.Token, cookie)
		}
		// What is stripped carries no credential any more.
		rest, keep := source.Strip(h)
		if keep != (rest != "") {
			t.Errorf("Strip = %q, %v", rest, keep)
		}
		if left, err := source.Credential(headers([][2]string{{"cookie", rest}})); err != nil || left.Token != "" {
			t.Errorf("stripped %q to %q: %v, %v", cookie, rest, left, err)
		}
	})
}
