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

	"github.com/spf13/cobra"
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
	Name, Description, Examples string
	// Commands run by RunE(…). Every error that comes before is wrong usage: of
	// flags, of Args and of PreRunE.
	Commands []*cobra.Command
}

// failed is an error of a command that ran.
type failed struct{ error }

func (f failed) Unwrap() error { return f.error }

// RunE makes a command's RunE.
func RunE(run func(context.Context, Streams) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if err := run(cmd.Context(), Streams{cmd.OutOrStdout(), cmd.ErrOrStderr()}); err != nil {
			return failed{err}
		}
		return nil
	}
}

// NoArgs are the Args of a command that takes flags alone.
func NoArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %s", args[0])
	}
	return nil
}

// Require marks flags that must be there.
func Require(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // cmd has no such flag
		}
	}
}

// Run is the whole program but for the process: it returns the exit code.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	root := &cobra.Command{
		Use: p.Name, Long: p.Description, Example: p.Examples,
		SilenceErrors: true, SilenceUsage: true, // told below
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetUsageFunc(usage)
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // it would not fail for what it does not know
	for _, cmd := range p.Commands {
		cmd.Flags().SortFlags = false // they are declared in the order that they are told
	}
	root.AddCommand(p.Commands...)
	root.InitDefaultCompletionCmd(args...)
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" { // cobra's own
			cmd.Short = "Write completion for a shell."
			cmd.Example = fmt.Sprintf("  %[1]s completion bash > /etc/bash_completion.d/%[1]s\n  source <(%[1]s completion zsh)", p.Name)
		}
	}
	if len(args) > 0 && args[0] == "help" { // as git and go have it: help, help serve
		args = append(slices.Clone(args[1:]), "--help")
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var ran failed
	var silent Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &silent):
		return int(silent)
	case errors.As(err, &ran):
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return ExitFault
	}
	fmt.Fprintf(stderr, "%s: %s\nRun \"%s --help\" for %s and examples.\n",
		p.Name, strings.TrimSpace(err.Error()), cmd.CommandPath(), about(cmd))
	return ExitUsage
}

// about says what the help of a command tells.
func about(cmd *cobra.Command) string {
	if cmd.HasParent() {
		return "its flags"
	}
	return "the commands"
}

const columns = 100 // of the help

// usage is cobra's, with flags that are wrapped: its own makes one line of each.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "Usage: %s COMMAND [flags]\n\nCommands:\n", cmd.CommandPath())
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
	} else {
		fmt.Fprintf(&b, "Usage: %s\n", cmd.UseLine())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	fmt.Fprintf(&b, "\nFlags:\n%s", cmd.LocalFlags().FlagUsagesWrapped(columns))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nRun \"%s COMMAND --help\" for more about a command.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(cmd.OutOrStdout(), b.String())
	return err
}
