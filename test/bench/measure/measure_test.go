package measure_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/test/bench/measure"
)

// A process that computes uses processor time, one that sleeps does not.
func TestCPU(t *testing.T) {
	idle := exec.Command("sleep", "60")
	busy := exec.Command("sh", "-c", "while :; do :; done")
	for _, c := range []*exec.Cmd{idle, busy} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait() // killed: that is its error
		})
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		used, err := measure.CPU(busy.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if used > 20*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a loop used %v in 10 s", used)
		}
	}
	if used, err := measure.CPU(idle.Process.Pid); err != nil || used <= 0 || used > 20*time.Millisecond {
		t.Errorf("a sleep used %v (%v): want a little", used, err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	if used, err := measure.CPU(gone.Process.Pid); err == nil {
		t.Errorf("a process that ended used %v", used)
	}
}

func TestThreadCPU(t *testing.T) {
	before, err := measure.ThreadCPU()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		after, err := measure.ThreadCPU()
		if err != nil {
			t.Fatal(err)
		}
		if after-before > time.Millisecond {
			return
		}
	}
	t.Error("10 s of work took no time")
}

func TestResidentMemory(t *testing.T) {
	own, err := measure.ResidentMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if own.Now < 1<<20 || own.Peak < own.Now {
		t.Errorf("a Go test holds %d bytes, at its peak %d", own.Now, own.Peak)
	}
	if _, err := measure.ResidentMemory(1 << 30); err == nil {
		t.Error("the size of a process that is not there")
	}
}

func TestParseStatus(t *testing.T) {
	const usual = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nThreads:\t4\n"
	got, err := measure.ParseStatus(usual)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(measure.Memory{Now: 200 << 10, Peak: 300 << 10}, got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"empty":               "",
		"a zombie":            "Name:\tx\nState:\tZ (zombie)\n",
		"another unit":        "VmHWM:\t 300 MB\nVmRSS:\t 200 MB\n",
		"no number":           "VmHWM:\t kB\nVmRSS:\t 200 kB\n",
		"in another's middle": "XVmHWM:\t 300 kB\nXVmRSS:\t 200 kB\n",
	} {
		if got, err := measure.ParseStatus(text); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   measure.Summary
	}{
		{[]float64{4}, measure.Summary{Median: 4, Low: 4, High: 4}},
		{[]float64{9, 1}, measure.Summary{Median: 5, Low: 1, High: 9}},
		{[]float64{7, 1, 100}, measure.Summary{Median: 7, Low: 1, High: 100}},
		{[]float64{4, 2, 1, 3}, measure.Summary{Median: 2.5, Low: 1, High: 4}},
	} {
		given := append([]float64(nil), tt.values...)
		if got := measure.Summarize(given); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.values, got, tt.want)
		}
		if !cmp.Equal(given, tt.values) {
			t.Errorf("%v became %v", tt.values, given)
		}
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	for _, tt := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{hundred, 0, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	} {
		if got := measure.Quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile %v of %d values: %d, want %d", tt.q, len(tt.values), got, tt.want)
		}
	}
}
