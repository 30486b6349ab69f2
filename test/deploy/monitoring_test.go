//go:build deploy

package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/dev/stack"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// Both are in the chart, which is where a cluster gets them from.
const (
	alertsFile    = chart + "/files/alerts.yaml"
	dashboardFile = chart + "/files/dashboard.json"
)

type rule struct {
	Alert       string            `yaml:"alert,omitempty"`
	Record      string            `yaml:"record,omitempty"`
	Expr        string            `yaml:"expr"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

// The alerts are ones that Prometheus takes, each has its runbook, and each
// fires, and keeps quiet, on the series of testdata/alerts_test.yaml.
func TestAlerts(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint=all", "--lint-fatal", alertsFile},
		{"test", "rules", "testdata/alerts_test.yaml"},
		{"check", "config", "--syntax-only", root + "/deploy/compose/prometheus.yaml"},
	} {
		if _, err := run(t, promtool, args...); err != nil {
			t.Error(err)
		}
	}
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runbooks, err := os.ReadFile(root + "/docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts(t) {
		if want := "/docs/operating.md#" + strings.ToLower(r.Alert); !strings.HasSuffix(r.Annotations["runbook_url"], want) {
			t.Errorf("%s: runbook_url %q, want one that ends in %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		if !strings.Contains(string(runbooks), "\n### "+r.Alert+"\n") {
			t.Errorf("%s has no runbook in docs/operating.md", r.Alert)
		}
		if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n") {
			t.Errorf("%s: no test of it", r.Alert)
		}
	}
}

func alerts(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file ruleFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("no alerts in %s", alertsFile)
	}
	return file.Groups[0].Rules
}

// grafana writes what the dashboard leaves to Grafana's variables.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$tenant", ".*")

// panelQueries are the dashboard's, by the panel's title.
func panelQueries(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var list []rule
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("the panel %q asks nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			list = append(list, rule{Record: fmt.Sprintf("panel:q%d", len(list)), Expr: grafana.Replace(target.Expr)})
		}
	}
	if len(list) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	return list
}

// Every query of the dashboard is one that Prometheus takes.
func TestDashboard(t *testing.T) {
	text, err := yaml.Marshal(ruleFile{[]ruleGroup{{"panels", panelQueries(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, tool(t, "promtool"), "check", "rules", file); err != nil {
		t.Error(err)
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:ussoauthz|grpc_server|process|go)_\w+`)
	labelLists = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
	matchers   = regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)"`)
)

// Every metric and label that an alert or a panel names is one that a real run
// shows, or one that Prometheus adds to what it scrapes.
func TestQueriesNameWhatIsThere(t *testing.T) {
	metrics, labels := scrape(t)
	for _, r := range slices.Concat(alerts(t), panelQueries(t)) {
		names := metricName.FindAllString(r.Expr, -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", r.Expr)
		}
		for _, name := range names {
			if !metrics[name] {
				t.Errorf("%s: the service has no metric %s", r.Expr, name)
			}
		}
		var used []string
		for _, list := range labelLists.FindAllStringSubmatch(r.Expr, -1) {
			used = append(used, strings.Split(list[1], ", ")...)
		}
		for _, m := range matchers.FindAllStringSubmatch(r.Expr, -1) {
			used = append(used, m[1])
		}
		for _, label := range used {
			if !labels[label] {
				t.Errorf("%s: nothing has the label %s", r.Expr, label)
			}
		}
	}
}

// Every metric of ours is in a panel or an alert: what nobody looks at is not
// worth its series.
func TestEveryMetricIsLookedAt(t *testing.T) {
	looked := map[string]bool{}
	for _, r := range slices.Concat(alerts(t), panelQueries(t)) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			looked[name] = true
		}
	}
	metrics, _ := scrape(t)
	for name := range metrics {
		for _, part := range []string{"_bucket", "_sum", "_count"} { // of a histogram
			name = strings.TrimSuffix(name, part)
		}
		if strings.HasPrefix(name, "ussoauthz_") && !looked[name] && !looked[name+"_bucket"] {
			t.Errorf("neither the dashboard nor an alert has %s", name)
		}
	}
}

// serveBundle answers with a policy that denies.
func serveBundle(w http.ResponseWriter, _ *http.Request) {
	const text = "package monitored\n\ndecision := false\n"
	b := bundle.Bundle{
		Manifest: bundle.Manifest{Revision: "v1", Roots: &[]string{"monitored"}}, Data: map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "m.rego", Path: "m.rego", Raw: []byte(text), Parsed: ast.MustParseModule(text)}},
	}
	if err := bundle.NewWriter(w).Write(b); err != nil {
		panic(err) // the client gets half an archive
	}
}

// scrape runs the real service with an issuer, asks it for a decision, and returns the names
// of its metrics and labels.
func scrape(t *testing.T) (metrics, labels map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "ussoauthz")
	if _, err := run(t, "go", "build", "-o", binary, root+"/cmd/ussoauthz"); err != nil {
		t.Fatal(err)
	}
	demo, err := os.ReadFile(root + "/demo/ussoauthz.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ussoauthz.yaml")
	served := httptest.NewServer(http.HandlerFunc(serveBundle))
	t.Cleanup(served.Close)
	demo = bytes.Replace(demo, []byte("\nrevocation:"), []byte("\nrevocation:\n  file: revoked.jsonl"), 1)
	demo = fmt.Appendf(demo, `
decision_log: {file: {path: decisions.jsonl}}
policy:
  entrypoint: monitored/decision
  bundles:
    services: {web: {url: %q}}
    bundles: {main: {service: web, resource: main.tar.gz}}
`, served.URL)
	if err := errors.Join(os.WriteFile(file, demo, 0o600), os.WriteFile(filepath.Join(dir, "revoked.jsonl"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	issuer, err := jwttest.NewIssuer(jwttest.Options{Issuer: "https://sso.acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	keys := jwttest.NewServer(issuer)
	t.Cleanup(keys.Close)
	s, err := stack.StartService(t.Context(), stack.Config{
		Ussoauthz: binary, File: file, Dir: dir, Env: []string{"USSOAUTHZ_DRAIN=0s", "ACME_SSO=" + keys.URL()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(s.Authz, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // the call is over
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{}); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(s.AuthzAdmin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // it was read
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	metrics = map[string]bool{}
	labels = map[string]bool{"namespace": true, "pod": true, "job": true, "instance": true, "le": true}
	for name, family := range families {
		metrics[name] = true
		for _, m := range family.GetMetric() {
			metrics[name+"_bucket"] = metrics[name+"_bucket"] || m.GetHistogram() != nil
			for _, label := range m.GetLabel() {
				labels[label.GetName()] = true
			}
		}
	}
	return metrics, labels
}
