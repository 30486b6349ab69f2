// Package clitest holds the commands that the scripts of cmd/*/testdata/script
// have beside testscript's own. It is for tests alone.
package clitest

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for what must happen.
const patience = 30 * time.Second

// Commands returns the commands:
//
//	exits CODE PROGRAM [ARGUMENT…]   runs a program that must end with exactly this code
//	retry PROGRAM [ARGUMENT…]        runs it again and again until it succeeds
//	terminate                        sends SIGTERM to every program in the background
//	take VARIABLE                    takes a TCP port and puts its address into a variable
func Commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": exits, "retry": retry, "terminate": terminate, "take": take,
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// run returns the exit code.
func run(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	ts.Check(err) // it did not run
	return 0
}

func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: retry PROGRAM [ARGUMENT…]")
	}
	for deadline := time.Now().Add(patience); run(ts, args) != 0; {
		if time.Now().After(deadline) {
			ts.Fatalf("no success within %v", patience)
		}
	}
}

func terminate(ts *testscript.TestScript, neg bool, args []string) {
	processes := ts.BackgroundCmds()
	if neg || len(args) > 0 || len(processes) == 0 {
		ts.Fatalf("usage: terminate, with a program in the background")
	}
	for _, p := range processes {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			ts.Check(err)
		}
	}
}

func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: take VARIABLE")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() }) // nobody calls it
	ts.Setenv(args[0], l.Addr().String())
}
