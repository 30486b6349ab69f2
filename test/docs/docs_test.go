// Package docs runs what the documents show: each snippet and each command.
package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/dev/envoybin"
	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// block is a fenced block of a document.
type block struct {
	file string
	line int
	lang string
	text string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func documents(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	decisions, err := filepath.Glob(filepath.Join(root(t), "docs", "adr", "*.md"))
	if err != nil || len(decisions) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	return append(append(files, decisions...), filepath.Join(root(t), "README.md"))
}

// blocks reads the fenced blocks of all documents, indented ones included.
func blocks(t testing.TB) []block {
	t.Helper()
	var all []block
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var open *block
		var indent string
		for i, line := range strings.Split(string(text), "\n") {
			trimmed := strings.TrimLeft(line, " ")
			fence, isFence := strings.CutPrefix(trimmed, "```")
			switch {
			case isFence && open == nil:
				indent = line[:len(line)-len(trimmed)]
				open = &block{file: filepath.Base(file), line: i + 1, lang: fence}
			case isFence:
				all = append(all, *open)
				open = nil
			case open != nil:
				open.text += strings.TrimPrefix(line, indent) + "\n"
			}
		}
		if open != nil {
			t.Fatalf("%v: a block without an end", open)
		}
	}
	return all
}

// Every block has a language that is checked here, or is a picture in words.
func TestEveryBlockIsChecked(t *testing.T) {
	checks := map[string]func(*testing.T, block){
		"yaml": checkYAML, "rego": checkRego, "go": checkGo, "console": checkConsole, "json": checkJSON, "mermaid": checkMermaid,
		"": func(t *testing.T, b block) {
			if !strings.HasPrefix(b.text, "input.") {
				t.Errorf("a block without a language, which nobody checks:\n%s", b.text)
			}
		},
	}
	seen := map[string]int{}
	for _, b := range blocks(t) {
		if b.file == testingPage || b.file == bundlesPage {
			continue // checked as a whole, by TestTestingPage and TestBundlesPage
		}
		seen[b.lang]++
		t.Run(b.String(), func(t *testing.T) {
			check, ok := checks[b.lang]
			if !ok {
				t.Fatalf("nobody checks blocks of %q", b.lang)
			}
			check(t, b)
		})
	}
	for _, lang := range []string{"yaml", "rego", "go", "console"} {
		if seen[lang] == 0 {
			t.Errorf("no block of %s was found", lang)
		}
	}
}

// checkYAML loads a configuration, completed where a document shows a part of
// one, or lets Envoy judge a filter.
func checkYAML(t *testing.T, b block) {
	if strings.HasPrefix(b.text, "- name: envoy.filters.http.ext_authz") {
		checkFilter(t, b)
		return
	}
	if m := regexp.MustCompile(`^# (envoy/\S+\.yaml)\n`).FindStringSubmatch(b.text); m != nil {
		checkExcerpt(t, b, m[1])
		return
	}
	dir := t.TempDir()
	text := b.text
	if !strings.Contains(text, "tenants:") {
		text += "tenants:\n  acme: {hosts: [a.example], issuer: i, audience: a, jwks_url: \"https://a.example/jwks.json\"}\n"
	}
	if !strings.Contains(text, "routes:") {
		text += "routes:\n  - match: /\n"
	}
	if err := os.Mkdir(filepath.Join(dir, "policies"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "tls"), os.DirFS("../../internal/config/testdata/tls")); err != nil {
		t.Fatal(err)
	}
	for i, r := range regoOf(t, b.file) {
		name := filepath.Join(dir, "policies", fmt.Sprintf("%d.rego", i))
		if err := os.WriteFile(name, []byte(r), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(text, "proto_descriptor: shop.pb") {
		writeShop(t, filepath.Join(dir, "shop.pb"))
	}
	cfg, err := config.Parse(filepath.Join(dir, "ussoauthz.yaml"), []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Policy.Paths) == 0 {
		return
	}
	_, err = policy.New(t.Context(), policy.Config{Entrypoint: cfg.Policy.Entrypoint, Paths: cfg.Policy.Paths, AllowNet: cfg.Policy.AllowNet})
	if err != nil {
		t.Error(err)
	}
}

// checkExcerpt finds what a document shows of a manifest in it, line for line.
// The manifests have checks of their own.
func checkExcerpt(t *testing.T, b block, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(b.text, "\n")
	if shown == "" || !strings.Contains(string(text), "\n"+shown) {
		t.Errorf("%s does not read\n%s", name, shown)
	}
}

// writeShop writes the descriptor set of the example that the document names.
func writeShop(t *testing.T, path string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root(t), "policies", "examples", "grpc-body", "shop.proto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(prototest.Write(t, prototest.Set(prototest.Compile(t, string(source)))), path); err != nil {
		t.Fatal(err)
	}
}

// regoOf are the policies that the same document shows.
func regoOf(t *testing.T, file string) []string {
	t.Helper()
	var list []string
	for _, b := range blocks(t) {
		if b.file == file && b.lang == "rego" && strings.HasPrefix(b.text, "package ") {
			list = append(list, b.text)
		}
	}
	return list
}

// checkFilter puts a filter into the shipped listener and asks Envoy.
func checkFilter(t *testing.T, b block) {
	shipped, err := os.ReadFile(filepath.Join(root(t), "envoy", "envoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(shipped)
	start := strings.Index(text, "- name: envoy.filters.http.ext_authz\n")
	end := strings.Index(text, "- name: envoy.filters.http.router\n")
	if start < 0 || end < start {
		t.Fatal("envoy.yaml has no ext_authz before its router")
	}
	indent := strings.Repeat(" ", start-strings.LastIndexByte(text[:start], '\n')-1)
	filter := strings.ReplaceAll(strings.TrimSpace(b.text), "\n", "\n"+indent)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(text[:start]+filter+"\n"+indent+text[end:]), 0o600); err != nil {
		t.Fatal(err)
	}
	envoy, err := envoybin.Find(t.Context(), filepath.Join(root(t), ".cache"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(envoy, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// checkRego compiles a policy by itself and asks it once: it must decide.
func checkRego(t *testing.T, b block) {
	file := filepath.Join(t.TempDir(), "policy.rego")
	if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^package (\S+)$`).FindStringSubmatch(b.text)
	if m == nil {
		t.Fatal("a policy without a package")
	}
	if m[1] == "system.log" {
		checkMask(t, file)
		return
	}
	e, err := policy.New(t.Context(), policy.Config{Entrypoint: strings.ReplaceAll(m[1], ".", "/") + "/decision", Paths: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "POST"} {
		d := e.Decide(context.Background(), &policy.Input{
			TenantID: "acme", Method: method, Host: "a.example", Segments: []string{""},
			Route: policy.NewRoute(policy.RouteFields{Match: "/", Public: true}),
		})
		if d.Reason == answers.PolicyError {
			t.Errorf("%s: %v", method, d.Err)
		}
		if m[1] == "shop.authz" && !d.Allowed { // the routes decide, and this one is public
			t.Errorf("%s: allowed %v, reason %s, detail %q", method, d.Allowed, d.Reason, d.Detail)
		}
	}
}

// checkMask asks the rules of a decision log's mask for an event of acme.
func checkMask(t *testing.T, file string) {
	e, err := policy.New(t.Context(), policy.Config{Paths: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	masks, err := e.Mask(t.Context(), map[string]any{"result": map[string]any{"tenant": "acme"}})
	if err != nil || len(masks) < 2 {
		t.Errorf("%v %v", masks, err)
	}
}

// checkGo compiles a file as a package of this module.
func checkGo(t *testing.T, b block) {
	name := "snippet.go"
	if strings.Contains(b.text, "_test\n") {
		name = "snippet_test.go"
	}
	dir := t.TempDir()
	source := filepath.Join(dir, name)
	if err := os.WriteFile(source, []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root(t), "test", "docs", "snippet", name): source}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "snippet")
	build := exec.Command("go", "build", "-overlay", file, "-o", binary, "./test/docs/snippet")
	if strings.HasSuffix(name, "_test.go") {
		build = exec.Command("go", "test", "-c", "-vet=off", "-overlay", file, "-o", binary, "./test/docs/snippet")
	}
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if name == "snippet.go" {
		return // a program that would serve until it is stopped
	}
	if out, err := exec.Command(binary).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// checkConsole knows every command that a document shows, and runs those that
// end by themselves with the configuration that the document shows.
func checkConsole(t *testing.T, b block) {
	for _, line := range strings.Split(b.text, "\n") {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		words := strings.Fields(command)
		switch {
		case words[0] == "make":
			checkTarget(t, words[1])
		case slices.Equal(words, []string{"ussoauthz", "serve", "-c", "ussoauthz.yaml"}):
			// It would serve until it is stopped: validate stands for it.
		case words[0] == "redis-cli" && b.file == revocationPage:
			// TestRevocationPage runs it.
		case words[0] == "ussoauthz":
			checkCommand(t, b, words)
		default:
			t.Errorf("nobody checks the command %q", command)
		}
	}
}

func checkJSON(t *testing.T, b block) {
	if !json.Valid([]byte(b.text)) {
		t.Errorf("this is no JSON:\n%s", b.text)
	}
}

func checkTarget(t *testing.T, target string) {
	t.Helper()
	cmd := exec.Command("make", "-n", target)
	cmd.Dir = root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("make %s: %v\n%s", target, err, out)
	}
}

// checkCommand runs a command of the service and looks for the output that the
// document shows below it.
func checkCommand(t *testing.T, b block, words []string) {
	t.Helper()
	dir := t.TempDir()
	for _, other := range blocks(t) {
		if other.file == b.file && strings.HasPrefix(other.text, "# ussoauthz.yaml\n") {
			if err := os.WriteFile(filepath.Join(dir, "ussoauthz.yaml"), []byte(other.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if slices.Contains(words, "envoy.yaml") { // the one that ships
		shipped, err := os.ReadFile(filepath.Join(root(t), "envoy", "envoy.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "envoy.yaml"), shipped, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "ussoauthz")
	build := exec.Command("go", "build", "-o", binary, "./cmd/ussoauthz")
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, words[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if denied := words[1] == "explain"; (err != nil) != denied { // of a denial: exit code 1
		t.Errorf("%v: %v\n%s", words, err, out)
	}
	_, after, _ := strings.Cut(b.text, "$ "+strings.Join(words, " ")+"\n")
	shown, _, _ := strings.Cut(after, "$ ")
	if !strings.Contains(string(out), strings.TrimSpace(shown)) {
		t.Errorf("%v prints\n%s\nand the document shows\n%s", words, out, shown)
	}
}

// Every relative link leads somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	found := 0
	for _, file := range append(documents(t), filepath.Join(root(t), "CONTRIBUTING.md"), filepath.Join(root(t), "SECURITY.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			target := filepath.Join(filepath.Dir(file), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			} else if m[2] != "" && !hasHeading(t, target, m[2][1:]) {
				t.Errorf("%s: %s has no heading %s", filepath.Base(file), m[1], m[2])
			}
		}
	}
	if found == 0 {
		t.Error("no link was found")
	}
}

// hasHeading finds a heading by the anchor that GitHub makes of it.
func hasHeading(t *testing.T, file, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(plain, " ", "-") == anchor {
			return true
		}
	}
	return false
}
