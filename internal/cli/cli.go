// Package cli runs a command line: what the programs in cmd/ have in common
// between their main and their commands.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes: what scripts and init systems act on.
const (
	ExitOK    = 0
	ExitFault = 1 // a file, the environment or what was asked for has a fault
	ExitUsage = 2 // the command line has
)

// Streams is where a command writes.
type Streams struct{ Out, Err io.Writer }

// Exit is an error that ends the program with this code and says nothing: what
// there is to say was written in a form of its own.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// ErrReported: the fault is already told.
const ErrReported = Exit(ExitFault)

// Program is a program with commands.
type Program struct {
	Name, Description string
	// Commands points to a struct in kong's form. A command's Run may take a
	// context.Context and Streams.
	Commands any
	Options  []kong.Option // further ones
}

// exited is how kong's own exits (help) come back to Run.
type exited int

// Run is the whole program but for the process: it returns the exit code.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			status, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(status)
		}
	}()
	parser, err := kong.New(p.Commands, append([]kong.Option{
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(status int) { panic(exited(status)) }),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
	}, p.Options...)...)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return ExitFault
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // as git and go have it: help, help serve
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n%s\n", p.Name, err, p.advice(err))
		return ExitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(Streams{stdout, stderr})
	var silent Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &silent):
		return int(silent)
	}
	fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	return ExitFault
}

// advice says where to read on after a command line that could not be read.
func (p Program) advice(err error) string {
	var fault *kong.ParseError
	if errors.As(err, &fault) && fault.Context != nil && fault.Context.Command() != "" {
		command, _, _ := strings.Cut(fault.Context.Command(), " ")
		return fmt.Sprintf("Run \"%s %s --help\" for its flags and examples.", p.Name, command)
	}
	return fmt.Sprintf("Run \"%s --help\" for the commands and examples.", p.Name)
}
