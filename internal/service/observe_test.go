package service_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/observe/decisionlog"
	"github.com/ussoio/ussoauthz/internal/service"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwttest"
)

// observed is a service of a configuration with more in it.
func observed(t *testing.T, more string) (r *running, token string) {
	t.Helper()
	return observedWith(t, "admin: {listen: 127.0.0.1:0}\n", more)
}

func observedWith(t *testing.T, admin, more string) (r *running, token string) {
	t.Helper()
	issuer := newIssuer(t)
	server := jwttest.NewServer(issuer)
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "ussoauthz.yaml"), []byte(`listen: 127.0.0.1:0
shutdown: {drain: 0s}
tenants:
  acme: {hosts: [acme.example], issuer: "https://sso.example", audience: app, jwks_url: "`+server.JWKSURL()+`"}
routes: [{match: GET /}]
`+admin+more), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, cfg), mint(t, issuer, map[string]any{"plan": "gold"})
}

// Every decision of a run is in the file when the run has ended.
func TestDecisionLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	r, token := observed(t, "decision_log: {input: true, file: {path: "+name+"}}\n")
	conn := dial(t, r.Address(), insecure.NewCredentials())
	const each = 50
	for range each {
		if got, err := check(t, conn, token); err != nil || got != "allowed" {
			t.Fatalf("%s %v", got, err)
		}
		if got, err := check(t, conn, ""); err != nil || got != "token_not_found" {
			t.Fatalf("%s %v", got, err)
		}
	}
	r.end(t)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), token) {
		t.Error("a token is in the log")
	}
	reasons := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var record decisionlog.Record
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		reasons[record.Reason]++
		if found, err := decisionlog.Find(name, record.DecisionID); err != nil || found.Reason != record.Reason || found.Input == nil {
			t.Fatalf("%+v %v", found, err)
		}
	}
	if reasons["allowed"] != each || reasons["token_not_found"] != each || len(reasons) != 2 {
		t.Errorf("%v", reasons)
	}
}

// A log that can't be written is a fault of the start.
func TestDecisionLogUnwritable(t *testing.T) {
	cfg := config.Default()
	cfg.Listen, cfg.Admin.Listen, cfg.Single = "127.0.0.1:0", "", false
	cfg.DecisionLog.File.Path = filepath.Join(t.TempDir(), "absent", "decisions.jsonl")
	if _, err := service.New(t.Context(), &cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "decision_log.file: ") {
		t.Errorf("%v", err)
	}
}

// ask sends a request to the admin port and returns the answer.
func ask(t *testing.T, r *running, method, path, body string, change func(*http.Request)) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.AdminAddress().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// What a run counts is what the table of the documentation names, label by
// label, and promlint has nothing to say.
func TestMetricsPage(t *testing.T) {
	revoked := filepath.Join(t.TempDir(), "revoked.jsonl")
	if err := os.WriteFile(revoked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bundles := newStand(t)
	bundles.put(t, "allowed")
	r, token := observed(t, "decision_log: {file: {path: "+filepath.Join(t.TempDir(), "log")+"}}\nrevocation: {file: "+revoked+"}\n"+bundles.section(""))
	r.told(t, "the bundle's policy", func(s bundleStates) bool { return len(s.Bundles) == 1 && s.Bundles[0].Revision == "allowed" })
	conn := dial(t, r.Address(), insecure.NewCredentials())
	for range 3 {
		if got, err := check(t, conn, token); err != nil || got != "allowed" {
			t.Fatalf("%s %v", got, err)
		}
	}
	status, text := ask(t, r, "GET", "/metrics", "", nil)
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary"} 3`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="envoy.service.auth.v3.Authorization",grpc_type="unary"} 3`,
		`grpc_server_started_total{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"}`,
		`ussoauthz_token_cache_entries 1`,
		`ussoauthz_decision_cache_entries 1`,
		`ussoauthz_checks_total{reason="allowed",route="GET /",tenant="acme"} 3`,
		`ussoauthz_stage_duration_seconds_count{stage="verify"} 3`,
		`ussoauthz_token_cache_lookups_total{result="hit"} 2`,
		`ussoauthz_keys_fetches_total{tenant="acme"} 1`,
		`ussoauthz_keys{tenant="acme"} 1`,
		`ussoauthz_config_generation 1`,
		`ussoauthz_grpc_connections 1`,
		`ussoauthz_bundle_downloads_total{bundle="main"} 1`,
		`ussoauthz_bundle_last_try_successful{bundle="main"} 1`,
		`go_goroutines`, `process_open_fds`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the page", want)
		}
	}
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	for _, name := range []string{"ussoauthz_token_cache_bytes", "ussoauthz_decision_cache_bytes"} {
		if m := regexp.MustCompile("(?m)^" + name + ` (\S+)$`).FindStringSubmatch(text); m == nil || m[1] == "0" {
			t.Errorf("%s: %q", name, m)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	var list []*dto.MetricFamily
	for name, family := range families {
		list = append(list, family)
		if !strings.HasPrefix(name, "ussoauthz_") && !strings.HasPrefix(name, "grpc_") {
			continue
		}
		var labels []string
		for _, l := range family.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		got[name] = strings.Join(labels, ", ")
	}
	problems, err := promlint.NewWithMetricFamilies(list).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:ussoauthz|grpc)_[a-z_]+)` \\| ([a-z_, `]*) ?\\|").FindAllStringSubmatch(string(page), -1) {
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' || r == '`' })
		slices.Sort(labels)
		want[row[1]] = strings.Join(labels, ", ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-docs/operating.md +/metrics\n%s", diff)
	}
}

// adminPages are all pages of the admin listener, and one that is none.
var adminPages = map[string]string{
	"/livez": "GET", "/readyz": "GET", "/readyz?verbose": "GET", "/metrics": "GET", "/configz": "GET", "/log-level": "PUT",
	"/debug/pprof/": "GET", "/debug/pprof/profile?seconds=1": "GET", "/debug/pprof/symbol": "POST", "/debug/pprof/goroutine": "GET", "/nothing": "GET",
}

// What a web page of another origin can send is refused on every page. Probes and
// scrapes come by addresses and by names that are nobody's outside.
func TestAdminGuard(t *testing.T) {
	r, _ := observedWith(t, "admin: {listen: 127.0.0.1:0, pprof: true, hosts: [authz.ops.example]}\n", "")
	const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	set := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(pairs); i += 2 {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	own := "http://" + r.AdminAddress().String()
	for name, change := range map[string]func(*http.Request){
		"rebinding":                      host("evil.example:9192"),
		"a name that begins as ours":     host("127.0.0.1.evil.example:9192"),
		"a name that ends nearly so":     host("evil.mysvc.example"),
		"a name of no letters":           host("127.0.0.1.nip.io"),
		"a sibling of a configured name": host("www.authz.ops.example"),
		"another origin":                 set("Origin", "https://evil.example"),
		"an opaque origin":               set("Origin", "null"),
		"an origin with our host in it":  set("Origin", own+".evil.example"),
		"an origin of another port":      set("Origin", "http://127.0.0.1:1"),
		"an extension's origin":          set("Origin", "chrome-extension://"+r.AdminAddress().String()),
		"fetched by a page":              set("Sec-Fetch-Site", "cross-site"),
		"fetched by a sibling":           set("Sec-Fetch-Site", "same-site"),
		"fetched by something new":       set("Sec-Fetch-Site", "nearby"),
		"our origin, and another's page": set("Origin", own, "Sec-Fetch-Site", "cross-site"),
		"our page, and another origin":   set("Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"),
		"an image without anything":      set("User-Agent", chrome),
		"a link from elsewhere":          set("Referer", "https://evil.example/"),
		"two origins":                    func(r *http.Request) { r.Header["Origin"] = []string{own, "https://evil.example"} },
	} {
		for path, method := range adminPages {
			if status, _ := ask(t, r, method, path, "debug", change); status != http.StatusForbidden {
				t.Errorf("%s: %s %s answers %d", name, method, path, status)
			}
		}
	}
	for name, change := range map[string]func(*http.Request){
		"by address": nil, "localhost with a port": host("localhost:9192"), "localhost": host("localhost"), "IPv6": host("[::1]:9192"), "IPv6 without a port": host("[2001:db8::1]"),
		"a short name": host("ussoauthz:9192"), "a service": host("ussoauthz.authz.svc:9192"), "a service in full": host("ussoauthz.authz.svc.cluster.local"), "a trailing dot": host("ussoauthz.authz.svc.cluster.local."),
		"an internal name": host("Authz.corp.internal"), "a name below localhost": host("app.localhost:9192"), "a configured name": host("AUTHZ.ops.example:443"),
		"a page of ours": set("User-Agent", chrome, "Origin", own, "Sec-Fetch-Site", "same-origin"), "our page's link": set("User-Agent", chrome, "Sec-Fetch-Site", "same-origin", "Referer", own+"/configz"),
		"the address bar": set("User-Agent", chrome, "Sec-Fetch-Site", "none"), "our page, in clear": set("User-Agent", chrome, "Origin", own),
		"a probe": set("User-Agent", "kube-probe/1.34"), "a scrape": set("User-Agent", "Prometheus/3.11.0"), "a link of ours": set("Referer", own+"/metrics"),
	} {
		for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/configz": 200, "/debug/pprof/goroutine": 200, "/nothing": 404} {
			if status, _ := ask(t, r, "GET", path, "", change); status != want {
				t.Errorf("%s: %s answers %d", name, path, status)
			}
		}
	}
	if status, _ := ask(t, r, "POST", "/log-level", "debug", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %d", status)
	}
}

// A probe in HTTP/1.0 names no host, and no browser does that.
func TestAdminWithoutAHost(t *testing.T) {
	r, _ := observed(t, "")
	conn, err := net.Dial("tcp", r.AdminAddress().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("GET /readyz HTTP/1.0\r\n\r\n"))
	text, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.0 200") {
		t.Errorf("%v: %s", err, text)
	}
	for _, header := range []string{"X-Content-Type-Options: nosniff", "Cross-Origin-Resource-Policy: same-origin", "X-Frame-Options: DENY"} {
		if !strings.Contains(string(text), header) {
			t.Errorf("no %s", header)
		}
	}
	if status, _ := ask(t, r, "GET", "/debug/pprof/", "", nil); status != http.StatusNotFound {
		t.Errorf("pprof is there without being asked for: %d", status)
	}
}

func TestAdminPages(t *testing.T) {
	r := startReloading(t)
	status, text := ask(t, r.running, "GET", "/configz", "", nil)
	if status != http.StatusOK || !strings.Contains(text, "audience:") || !strings.Contains(text, "acme:") {
		t.Errorf("%d %s", status, text)
	}
	for _, step := range []struct {
		method, body string
		status       int
		level        slog.Level
	}{
		{"GET", "", 200, slog.LevelInfo},
		{"PUT", "debug\n", 200, slog.LevelDebug},
		{"PUT", "DEBUG+4", 400, slog.LevelDebug},
		{"PUT", strings.Repeat("x", 1000), 400, slog.LevelDebug},
		{"PUT", "error", 200, slog.LevelError},
	} {
		status, text := ask(t, r.running, step.method, "/log-level", step.body, nil)
		if status != step.status || r.level.Level() != step.level || status == 200 && !strings.EqualFold(strings.TrimSpace(text), step.level.String()) {
			t.Errorf("%s %.20q: %d %s, level %v", step.method, step.body, status, text, r.level.Level())
		}
	}
	r.configure(t, "routes: [{match: /a}]")
	r.answers(t, "no_route")
	if got := r.level.Level(); got != slog.LevelInfo {
		t.Errorf("after a reload the level is %v", got)
	}
	r.reloaded(t, func(s reloadState) bool { return s.Generation == 2 })
	r.configure(t, "routes: {")
	r.reloaded(t, func(s reloadState) bool { return s.Error != "" })
	_, text = ask(t, r.running, "GET", "/metrics", "", nil)
	for _, want := range []string{
		`ussoauthz_config_generation 2`, `ussoauthz_config_reloads_total{result="success"} 1`, `ussoauthz_config_reloads_total{result="failure"} 1`,
		`ussoauthz_config_last_reload_successful 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestPprof(t *testing.T) {
	r, _ := observedWith(t, "admin: {listen: 127.0.0.1:0, pprof: true}\n", "")
	if status, text := ask(t, r, "GET", "/debug/pprof/goroutine?debug=1", "", nil); status != http.StatusOK || !strings.Contains(text, "goroutine profile") {
		t.Errorf("%d %.200s", status, text)
	}
}
