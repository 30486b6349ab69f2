//go:build browser

package service_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/service"
)

// visited is an admin listener that keeps what it was asked and how it answered.
type visited struct {
	admin http.Handler
	mu    sync.Mutex
	seen  []visit

	reports chan map[string]string
}

type visit struct {
	method, host, path string
	status             int
	from               string // what the browser said of its origin
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (v *visited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/own.html": // a console to come
		http.ServeFile(w, r, "testdata/browser/own.html")
		return
	case "/report":
		v.report(w, r)
		return
	case "/favicon.ico":
		http.NotFound(w, r)
		return
	}
	s := &statusWriter{w, 0}
	v.admin.ServeHTTP(s, r)
	v.mu.Lock()
	defer v.mu.Unlock()
	from := fmt.Sprintf("Origin %q, Sec-Fetch-Site %q, Referer %q", r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"), r.Referer())
	v.seen = append(v.seen, visit{r.Method, r.Host, r.URL.RequestURI(), s.status, from})
}

func (v *visited) report(w http.ResponseWriter, r *http.Request) {
	var results map[string]string
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&results); err != nil {
		results = map[string]string{"report": err.Error()}
	}
	v.reports <- results
}

func (v *visited) visits() []visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]visit(nil), v.seen...)
}

// browse opens a page in Chromium, until the test ends. Its own defences of local
// networks are off: they are not in every browser.
func browse(t *testing.T, page, resolve string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("no chromium: run make browser, which installs it: %v", err)
	}
	cmd := exec.Command(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--remote-debugging-port=0",
		"--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,HttpsUpgrades", "--host-resolver-rules="+resolve,
		"--user-data-dir="+t.TempDir(), page)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.CreateTemp(t.TempDir(), "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group that it leads, and no other
		_ = cmd.Wait()                                      // killed
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s", text[max(0, len(text)-4096):])
		}
		time.Sleep(100 * time.Millisecond) // its last files, in the folder that goes now
	})
}

// A real browser on a page of another origin gets nothing done at the admin
// listener, whatever it sends and whatever name it uses; a page of the listener
// itself does.
func TestBrowser(t *testing.T) {
	var level slog.LevelVar
	cfg := parse(t, newIssuer(t), "admin: {listen: 127.0.0.1:0, pprof: true}")
	s, err := service.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.FollowLog(&level, nil)
	run(t, s)
	v := &visited{admin: s.AdminHandler(), reports: make(chan map[string]string, 1)}
	admin := httptest.NewServer(v)
	defer admin.Close()
	_, port, _ := net.SplitHostPort(admin.Listener.Addr().String())
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/report" {
			v.report(w, r)
			return
		}
		http.ServeFile(w, r, "testdata/browser/attack.html")
	}))
	defer evil.Close()
	resolve := "MAP evil.test " + strings.TrimPrefix(evil.URL, "http://") + ", MAP authz.svc 127.0.0.1, MAP rebound.test 127.0.0.1"

	t.Run("another origin", func(t *testing.T) {
		// Of a secure context, of a name of it, and of one that is told nothing.
		bases := []string{"http://127.0.0.1:" + port, "http://localhost:" + port, "http://authz.svc:" + port}
		browse(t, "http://evil.test/?"+url.Values{"base": bases}.Encode(), resolve)
		for name, result := range v.awaited(t) {
			if strings.HasPrefix(result, "read") {
				t.Errorf("%s is %s", name, result)
			}
		}
		eventually(t, func() bool { return strings.Contains(fmt.Sprint(v.visits()), "navigated") }, func() string { return "the page did not navigate" })
		kinds := map[string]int{}
		for _, a := range v.visits() {
			kinds[a.host+" "+a.method]++
			if a.status != http.StatusForbidden {
				t.Errorf("%s http://%s%s (%s) is answered by %d", a.method, a.host, a.path, a.from, a.status)
			}
		}
		for _, base := range bases {
			for method, least := range map[string]int{"GET": 40, "POST": 15, "OPTIONS": 5} {
				if n := kinds[strings.TrimPrefix(base, "http://")+" "+method]; n < least {
					t.Errorf("only %d times %s to %s: %v", n, method, base, kinds)
				}
			}
		}
		if level.Level() != slog.LevelInfo {
			t.Errorf("the log's level is %v", level.Level())
		}
	})
	t.Run("a name that was rebound", func(t *testing.T) {
		browse(t, "http://rebound.test:"+port+"/own.html", resolve)
		for name, result := range v.awaited(t) {
			if result != "read 403" {
				t.Errorf("%s is %s", name, result)
			}
		}
	})
	t.Run("its own origin", func(t *testing.T) {
		browse(t, "http://localhost:"+port+"/own.html", resolve)
		for name, result := range v.awaited(t) {
			if result != "read 200" {
				t.Errorf("%s is %s", name, result)
			}
		}
		if level.Level() != slog.LevelDebug {
			t.Errorf("the log's level is %v", level.Level())
		}
	})
	t.Run("the address bar", func(t *testing.T) {
		before := len(v.visits())
		browse(t, admin.URL+"/readyz", resolve)
		eventually(t, func() bool { return len(v.visits()) > before }, func() string { return "it did not come" })
		if a := v.visits()[before]; a.status != http.StatusOK {
			t.Errorf("%+v", a)
		}
	})
}

// awaited is what a page reports.
func (v *visited) awaited(t *testing.T) map[string]string {
	t.Helper()
	select {
	case results := <-v.reports:
		if len(results) < 5 {
			t.Errorf("a report of %v", results)
		}
		return results
	case <-time.After(time.Minute):
		t.Fatalf("no report from the browser after %d requests", len(v.visits()))
		return nil
	}
}
