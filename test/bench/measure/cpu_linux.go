package measure

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time, user and system, that a process has used so
// far: the kernel's clock of the whole process, threads that ended included,
// in nanoseconds. /proc/PID/stat has the same in ticks of 10 ms, too coarse for
// short rounds.
func CPU(pid int) (time.Duration, error) {
	// CPUCLOCK_SCHED of another process, as clock_getcpuclockid(3) makes it.
	const sched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ThreadCPU returns the processor time of the calling thread.
func ThreadCPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("reading a thread's processor time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
