//go:build !linux

package measure

import (
	"errors"
	"time"
)

var errLinux = errors.New("the bench reads the accounting of processes as Linux keeps it: run it there")

// CPU is there on Linux only.
func CPU(int) (time.Duration, error) { return 0, errLinux }

// ThreadCPU is there on Linux only.
func ThreadCPU() (time.Duration, error) { return 0, errLinux }
