package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is a process's resident size in bytes: now, and the most it ever was.
type Memory struct {
	Now  int64 `json:"now"`
	Peak int64 `json:"peak"`
}

// ResidentMemory reads /proc/PID/status.
func ResidentMemory(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, fmt.Errorf("reading a process's size: %w", err)
	}
	return ParseStatus(string(text))
}

// ParseStatus reads VmRSS and VmHWM, which the kernel writes in kB.
func ParseStatus(text string) (m Memory, err error) {
	for _, field := range []struct {
		name string
		to   *int64
	}{{"VmRSS:", &m.Now}, {"VmHWM:", &m.Peak}} {
		_, rest, found := strings.Cut("\n"+text, "\n"+field.name)
		line, _, _ := strings.Cut(rest, "\n")
		number, unit, _ := strings.Cut(strings.TrimSpace(line), " ")
		kb, err := strconv.ParseInt(number, 10, 64)
		if !found || err != nil || unit != "kB" {
			return Memory{}, fmt.Errorf("no %s in kB in a process's status: %.60q", field.name, line)
		}
		*field.to = kb << 10
	}
	return m, nil
}
