package e2e

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func buildDev(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ussodev")
	build := exec.Command("go", "build", "-o", binary, "./cmd/ussodev")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func demo(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	// A copy: the demo keeps keys beside the configuration.
	dir := t.TempDir()
	text, err := os.ReadFile(file(t, "demo/ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ussoauthz.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(buildDev(t), append([]string{"demo", "--ussoauthz", binaries.ussoauthz,
		"-c", filepath.Join(dir, "ussoauthz.yaml"), "--cache", dir}, args...)...)
	cmd.Env = append(os.Environ(), "ENVOY="+binaries.envoy)
	return cmd
}

// make demo ONCE=1 tells the story and ends with exit code 0; wherever a usual
// port is taken it finds another.
func TestDemoOnce(t *testing.T) {
	for _, port := range []string{"10000", "9191", "8080"} {
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			t.Cleanup(func() { _ = l.Close() }) // it only had to be taken
		}
	}
	out, err := demo(t, "--once").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if rows := regexp.MustCompile(`(?m)^ +\d+  `).FindAll(out, -1); len(rows) < 16 {
		t.Errorf("%d rows\n%s", len(rows), out)
	}
	if curls := strings.Count(string(out), "curl -i"); curls < 16 || !strings.Contains(string(out), ", 0 not") {
		t.Errorf("%d curl lines\n%s", curls, out)
	}
}

// Ctrl-C ends the demo and everything that it started.
func TestDemoCtrlC(t *testing.T) {
	cmd := demo(t)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // and the test fails below
	defer timer.Stop()
	var edge string
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && edge == "" {
		if m := regexp.MustCompile(`stays up until Ctrl-C. Envoy listens on http://(\S+),`).FindStringSubmatch(lines.Text()); m != nil {
			edge = m[1]
		}
	}
	if edge == "" {
		t.Fatal("the demo never came up")
	}
	children := childrenOf(t, cmd.Process.Pid)
	if len(children) < 2 {
		t.Errorf("%d children, want Envoy and the service", len(children))
	}
	if conn, err := net.DialTimeout("tcp", edge, time.Second); err != nil {
		t.Errorf("Envoy does not listen: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
	if conn, err := net.DialTimeout("tcp", edge, time.Second); err == nil {
		_ = conn.Close()
		t.Error("Envoy still listens")
	}
}
