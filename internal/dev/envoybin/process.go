package envoybin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a running Envoy. Whoever starts one must Close it.
type Process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	ended  chan struct{} // closed when the process has ended
	err    error         // how it ended; read it after ended is closed
	admin  string
	dir    string
}

// Start runs the binary with the configuration and returns when Envoy is
// ready, which includes a first health check of its clusters. Envoy writes its
// access log to stdout and its own log to stderr. The configuration may listen
// on port 0: Admin and Listener tell what became of it. Envoy ends with ctx, or
// by Close.
func Start(ctx context.Context, binary string, config []byte, stdout, stderr io.Writer) (*Process, error) {
	dir, err := os.MkdirTemp("", "envoy-")
	if err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Envoy: %w", err), os.RemoveAll(dir))
	}
	adminFile := filepath.Join(dir, "admin")
	ctx, cancel := context.WithCancel(ctx)
	p := &Process{cancel: cancel, ended: make(chan struct{}), dir: dir}
	p.cmd = exec.CommandContext(ctx, binary, "-c", file, "--admin-address-path", adminFile, // #nosec G204 -- the Envoy that Find found
		"--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("starting Envoy: %w", err), os.RemoveAll(dir))
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.waitReady(ctx, adminFile); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Envoy: %w", err), p.Close())
	}
	return p, nil
}

// waitReady waits for the admin interface's address and then for its word.
func (p *Process) waitReady(ctx context.Context, adminFile string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if admin, err := os.ReadFile(adminFile); err == nil && p.admin == "" {
			p.admin = strings.TrimSpace(string(admin))
		}
		if p.admin != "" {
			if _, err := p.ask(ctx, "/ready"); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("it ended: %w: its log tells why", p.err)
		case <-tick.C:
		}
	}
}

func (p *Process) ask(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking Envoy for %s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// Admin returns the host:port of the admin interface.
func (p *Process) Admin() string { return p.admin }

// Listener returns the host:port of the listener with the name.
func (p *Process) Listener(ctx context.Context, name string) (string, error) {
	body, err := p.ask(ctx, "/listeners?format=json")
	if err != nil {
		return "", err
	}
	var answer struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Host string `json:"address"`
					Port int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("reading Envoy's listeners: %w", err)
	}
	for _, l := range answer.Statuses {
		if l.Name == name {
			return net.JoinHostPort(l.Address.Socket.Host, strconv.Itoa(l.Address.Socket.Port)), nil
		}
	}
	return "", fmt.Errorf("the running Envoy has no listener %q", name)
}

// Done is closed when Envoy has ended.
func (p *Process) Done() <-chan struct{} { return p.ended }

// Close ends Envoy, waits for it and removes its files. A second call does
// nothing.
func (p *Process) Close() error {
	p.cancel()
	<-p.ended
	return os.RemoveAll(p.dir)
}
