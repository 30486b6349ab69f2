package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// socketMode lets the owner and the group connect: a sidecar shares a group with its
// Envoy. Nobody else may use the service as an oracle for tokens.
const socketMode = 0o660

// listen opens "host:port" or "unix:///path".
func listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix://")
	if !unix {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", address, err)
		}
		return l, nil
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, err)
	}
	if err := os.Chmod(path, socketMode); err != nil { // #nosec G302 -- Envoy, of the same group, connects
		return nil, errors.Join(fmt.Errorf("setting the mode of %s: %w", path, err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket that a killed process left behind, and
// nothing else: not a file, and not a socket that answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listening on unix://%s: the path is taken by something that is no socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return fmt.Errorf("listening on unix://%s: another process answers there", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the stale socket %s: %w", path, err)
	}
	return nil
}
