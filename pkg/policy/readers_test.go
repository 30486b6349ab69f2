package policy_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
)

// Where the query may begin within the path, the workspace that it names is
// nobody's: to the embedded policy and to its fast way.
func TestUnsureWorkspaceInQuery(t *testing.T) {
	native, _ := workspaceEngines(t)
	in := workspaceInput("query:ws", "ws=ws_1")
	if d := native.Decide(t.Context(), in); d.Reason != answers.Allowed {
		t.Fatalf("%+v", d)
	}
	in.WorkspaceUnsure = true
	if d := native.Decide(t.Context(), in); d.Reason != answers.WorkspaceMismatch {
		t.Errorf("%+v", d)
	}
}

// readers are what servers make of a query: the values of workspace_id.
var readers = map[string]func(raw string) []string{
	"Go": func(raw string) []string {
		values, _ := url.ParseQuery(raw) // what it could read
		return values["workspace_id"]
	},
	"nginx": func(raw string) (found []string) {
		for pair := range strings.SplitSeq(raw, "&") {
			if name, value, cut := strings.Cut(pair, "="); cut && strings.EqualFold(name, "workspace_id") {
				found = append(found, formText(value))
			}
		}
		return found
	},
	"Rack": func(raw string) (found []string) {
		for pair := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(strings.TrimLeft(pair, " "), "=")
			if m := rackName.FindStringSubmatch(formText(name)); m != nil && m[1] == "workspace_id" {
				found = append(found, formText(value))
			}
		}
		return found
	},
	"PHP": func(raw string) (found []string) {
		for pair := range strings.SplitSeq(raw, "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, _, _ = strings.Cut(strings.TrimLeft(formText(name), " "), "\x00")
			if i := strings.IndexByte(name, '['); i >= 0 && strings.IndexByte(name[i:], ']') > 0 {
				name = name[:i]
			}
			if phpSigns.ReplaceAllString(name, "_") == "workspace_id" {
				found = append(found, formText(value))
			}
		}
		return found
	},
}

var (
	rackName = regexp.MustCompile(`^[\[\]]*([^\[\]]+)\]*`)
	phpSigns = regexp.MustCompile(`[. \[]`)
)

func formText(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// Whatever is allowed, no server reads another workspace.
func FuzzWorkspaceAsServersReadIt(f *testing.F) {
	for _, seed := range []string{"workspace_id=ws_1", "workspace_id=ws_1&+workspace.id[]=2", "a=1;[workspace_id=2&workspace_id=ws_1", "workspace%5fid=ws_1&%u0077=%zz", "WORKSPACE_ID%00=2"} {
		f.Add(seed)
	}
	native, _ := workspaceEngines(f)
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Count(raw, "&") > 100 || native.Decide(t.Context(), workspaceInput("query:workspace_id", raw)).Reason != answers.Allowed {
			return
		}
		for name, read := range readers {
			if values := read(raw); slices.ContainsFunc(values, func(v string) bool { return v != "ws_1" }) {
				t.Errorf("%q is allowed, and %s reads %q", raw, name, values)
			}
		}
	})
}
