//go:build !linux

package drive

import "time"

func nap(d time.Duration) { time.Sleep(d) }
