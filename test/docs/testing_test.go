package docs

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// testingPage shows one folder: each of its blocks is a file, named in its
// first line, or a session in the folder.
const testingPage = "testing.md"

// TestTestingPage makes the folder, runs each session in it and compares the
// whole output, and then what the CI job runs.
func TestTestingPage(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "ussoauthz"), "./cmd/ussoauthz")
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := map[string]string{}
	for _, b := range blocks(t) {
		switch {
		case b.file != testingPage || b.lang == "console":
			continue
		case b.lang != "yaml" && b.lang != "rego":
			t.Fatalf("%v: nobody checks a block of %q here", b, b.lang)
		}
		first, _, _ := strings.Cut(b.text, "\n")
		name, ok := strings.CutPrefix(first, "# ")
		if !ok || !filepath.IsLocal(name) || files[name] != "" {
			t.Fatalf("%v: the first line names no new file", b)
		}
		files[name] = b.text
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sessions := 0
	for _, b := range blocks(t) {
		if b.file == testingPage && b.lang == "console" {
			sessions++
			checkSession(t, b, dir, bin)
		}
	}
	if sessions == 0 {
		t.Error("no session was found")
	}
	checkJob(t, files[".github/workflows/gateway.yaml"], dir, bin)
}

func shell(t *testing.T, dir, bin, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}

func checkSession(t *testing.T, b block, dir, bin string) {
	t.Helper()
	for _, part := range strings.Split("\n"+b.text, "\n$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		if got := shell(t, dir, bin, command); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%v: %s prints\n%s\nand the document shows\n%s", b, command, got, want)
		}
	}
}

// checkJob runs the job's commands of ours, and looks at its report.
func checkJob(t *testing.T, text, dir, bin string) {
	t.Helper()
	var workflow struct {
		Jobs map[string]struct{ Steps []struct{ Run string } }
	}
	if err := yaml.Unmarshal([]byte(text), &workflow); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, step := range workflow.Jobs["decisions"].Steps {
		if target, ok := strings.CutPrefix(step.Run, "go install "); ok {
			checkGoInstall(t, target)
			continue
		}
		if step.Run == "" {
			continue
		}
		if !strings.HasPrefix(step.Run, "ussoauthz ") {
			t.Errorf("nobody checks the step %q", step.Run)
			continue
		}
		ran++
		shell(t, dir, bin, step.Run)
	}
	if ran == 0 {
		t.Error("the job runs nothing of ours")
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests int `xml:"tests,attr"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil || suites.Tests != 6 {
		t.Errorf("%v: %d tests in the report", err, suites.Tests)
	}
}
