package policy_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// workspaceEngines are the embedded policy with its rules in Go, and the same
// files as the user's own.
func workspaceEngines(t testing.TB) (native, plain *policy.Engine) {
	t.Helper()
	native, err := policy.New(t.Context(), policy.Config{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	plain, err = policy.New(t.Context(), policy.Config{Timeout: time.Minute, Paths: []string{"../../policies/usso", "../../policies/authz"}})
	if err != nil {
		t.Fatal(err)
	}
	return native, plain
}

func workspaceInput(workspace, query string, headers ...policy.Header) *policy.Input {
	return &policy.Input{
		TenantID: "acme", Method: "GET", Host: "acme.example", Segments: []string{"items"}, RawQuery: query, Headers: headers,
		Identity: &jwtverify.Identity{UserID: "user:1", WorkspaceID: "ws_1"},
		Route:    policy.NewRoute(policy.RouteFields{Match: "/items", Workspace: workspace}),
	}
}

// Every spelling that a common parser reads as the name counts: a request that
// names two workspaces, or names one in another spelling alone, names none.
func TestWorkspaceSpellings(t *testing.T) {
	native, plain := workspaceEngines(t)
	check := func(in *policy.Input, want answers.Reason) {
		t.Helper()
		for name, e := range map[string]*policy.Engine{"in Go": native, "in Rego": plain} {
			if d := e.Decide(t.Context(), in); d.Reason != want {
				t.Errorf("%q %v %s: %s, want %s", in.RawQuery, in.Headers, name, d.Reason, want)
			}
		}
	}
	for _, second := range []string{
		"workspace=victim", "workspace=ws_1", "workspace", "workspace=", "q=1;workspace=victim", ";workspace=victim", "q;workspace", "q=%3Bworkspace%3Dvictim",
		"workspace[]=victim", "workspace%5B%5D=victim", "workspace[0]=victim", "workspace[x]=victim", "workspace[=victim", "[workspace]=victim", "[workspace=v", "workspace]=v",
		"Workspace=victim", "WORKSPACE=victim", "work%C5%BFpace=victim", "wor%E2%84%AAspace=victim", "work%73pace=victim",
		"+workspace=victim", "%20workspace=victim", "workspace+=victim", "work.space=v", "work_space=v", "work+space=v", "work-space=v", "%09workspace=v",
		"workspace%00=victim", "workspace%00x=victim", "workspace%00[]=victim", "%u0077orkspace=victim", "%U0077orkspace=v", "%u0077ork%73pace=v", "w%u006frk%u0073pace[]=v",
		"a=%u0077;%u0077orkspace=v", "?workspace=victim", "%3Fworkspace[]=v", "workspace%00%zz=v;workspace=v",
	} {
		check(workspaceInput("query:workspace", "workspace=ws_1&"+second), answers.WorkspaceMismatch)
		check(workspaceInput("query:workspace", second+"&workspace=ws_1"), answers.WorkspaceMismatch)
		if !strings.HasPrefix(second, "workspace=") && second != "work%73pace=victim" {
			check(workspaceInput("query:workspace", strings.Replace(second, "victim", "ws_1", 1)), answers.WorkspaceMismatch)
		}
	}
	for _, query := range []string{
		"workspace=ws_1", "workspace=ws%5F1", "work%73pace=ws_1", "workspace=ws_1&q=workspace", "q=a;b&workspace=ws_1", "workspaces=victim&workspace=ws_1", "xworkspace=v&workspace=ws_1",
		"workspace=ws_1&work=1&space=2", "workspace=ws_1&%u0041=1", "workspace=ws_1&100%=1", "workspace=ws_1&%zz=1&&;&=", "workspace=ws_1&filter[workspace]=v", "workspace=ws_1&café=1",
	} {
		check(workspaceInput("query:workspace", query), answers.Allowed)
	}
	for _, tt := range []struct{ workspace, query string }{
		{"query:workspace_id", "workspace_id=ws_1&workspace.id=v"}, {"query:workspace_id", "workspace_id=ws_1&workspace+id=v"}, {"query:workspace_id", "workspace_id=ws_1&workspace[id=v"},
		{"query:workspace_id", "workspace_id=ws_1&workspaceId=v"}, {"query:filter[ws]", "filter[ws]=ws_1&filter[ws][]=v"}, {"query:Org", "Org=ws_1&org=v"},
	} {
		check(workspaceInput(tt.workspace, tt.query), answers.WorkspaceMismatch)
		first, _, _ := strings.Cut(tt.query, "&")
		check(workspaceInput(tt.workspace, first), answers.Allowed)
	}
	header := func(name, value string) policy.Header { return policy.Header{Name: name, Value: value} }
	good := header("x-org", "ws_1")
	for _, second := range []policy.Header{
		header("x-org", "victim"), header("x-org", "ws_1"), header("x.org", "victim"), header("x_org", "victim"), header("x~org", "victim"), header("x-org", ""), header("x_org", "ws_1"),
	} {
		check(workspaceInput("header:X-Org", "", good, second), answers.WorkspaceMismatch)
		check(workspaceInput("header:X-Org", "", second, good), answers.WorkspaceMismatch)
		if second != good {
			check(workspaceInput("header:X-Org", "", second), answers.WorkspaceMismatch)
		}
	}
	check(workspaceInput("header:X-Org", "", header("x-org", "ws_1,ws_1")), answers.WorkspaceMismatch)
	check(workspaceInput("header:X-Org", "", good, header("x-orgs", "v"), header("xorg", "v"), header("x-or", "v"), header("x0org", "v")), answers.Allowed)
	check(workspaceInput("header:x_org", "", header("x_org", "ws_1")), answers.Allowed)
}

// The rules in Go and in Rego agree on whatever a client sends.
func FuzzWorkspaceSpellings(f *testing.F) {
	f.Add("workspace", "workspace=ws_1&WORK%00=1;workspace[]=2", uint64(1))
	f.Add("a[b]", "a[b]=ws_1&%u0061[b]=1&[a=%zz", uint64(2))
	f.Add("%u0041", "A=1&%u0041=ws_1&%u00=", uint64(3))
	f.Add("ſ", "S=ws_1&\xff=1", uint64(4))
	native, plain := workspaceEngines(f)
	f.Fuzz(func(t *testing.T, name, query string, seed uint64) {
		compareWorkspaces(t, native, plain, name, query, rand.New(rand.NewPCG(seed, 0)))
	})
}

func compareWorkspaces(t *testing.T, native, plain *policy.Engine, name, query string, random *rand.Rand) {
	t.Helper()
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var headers []policy.Header
	for range random.IntN(4) {
		headers = append(headers, policy.Header{Name: pick("x-org", "x_org", "x.org", "x-org", "x-orgs", "x~-org"), Value: pick("ws_1", "ws_1", "v", "", "ws_1,", "a;b")})
	}
	for _, in := range []*policy.Input{workspaceInput("query:"+name, query), workspaceInput("header:"+pick("X-Org", "x_org", ""), "", headers...)} {
		if a, b := native.Decide(t.Context(), in), plain.Decide(t.Context(), in); a.Reason != b.Reason {
			t.Fatalf("%q of %q %v: %s in Go, %s in Rego (%v)", name, query, headers, a.Reason, b.Reason, b.Err)
		}
	}
}

// Pieces of hostile names, in every order.
func TestWorkspaceSpellingsAgree(t *testing.T) {
	native, plain := workspaceEngines(t)
	random := rand.New(rand.NewPCG(14, 3))
	pieces := []string{
		"workspace", "WORK", "work", "space", "=", "=", "&", "&", ";", "ws_1", "[", "]", "[]", "+", "%20", "%00", ".", "_", "%5B", "%3B", "%3D", "%u0077", "%uD83D", "%u", "%", "%zz", "\u017f", "%C5%BF", "\xff", "%FF", "\\", "%22", "%0A",
	}
	for range 4000 {
		var query strings.Builder
		if random.IntN(3) > 0 {
			query.WriteString("workspace=ws_1&")
		}
		for range random.IntN(8) {
			query.WriteString(pieces[random.IntN(len(pieces))])
		}
		compareWorkspaces(t, native, plain, []string{"workspace", "work_space", "[work", "w%u0041", "Workspace[space]"}[random.IntN(5)], query.String(), random)
	}
}
