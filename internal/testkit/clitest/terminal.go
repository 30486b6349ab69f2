package clitest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/creack/pty"
)

// OnTerminal is a program for scripts: it runs the one that its arguments name
// with a terminal for its input and output, copies what shows there to its own
// output, and ends with the same exit code.
func OnTerminal() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...) // #nosec G204 G702 -- a test names the program
	terminal, err := pty.Start(cmd)
	if err != nil {
		fmt.Fprintln(os.Stderr, "onterminal:", err)
		os.Exit(125)
	}
	_, _ = io.Copy(os.Stdout, terminal) // it ends with an error: nobody writes any more
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(ended.ExitCode())
	}
	os.Exit(0)
}
