package drive

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps to some tens of microseconds; time.Sleep wakes a millisecond late
// where the process is idle, which would make a steady rate a row of bursts.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // woken early: the caller looks at the clock
}
