// Command mutation finds checks that no test notices. It switches one condition
// off at a time and runs the tests: a mutant that passes them is a check that
// nothing proves.
//
// All conditions of a package are rewritten once, so that an environment variable
// chooses at run time which of them is off, and the tests of the package and of
// the packages that depend on it are built once, with go test's -overlay: no file
// is touched. A first run of every test alone tells which checks it reaches; a
// mutant is tried against those tests only, those of its own package first.
//
// Survivors that behave as the original does are listed, with the reason, in
// equivalent.txt: at most one check in twenty of a package. An entry that fits
// no survivor is an error too.
//
//	go run ./test/mutation [-only REGEXP] [-list] PACKAGE[:FILE,FILE…]…
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

const equivalents = "test/mutation/equivalent.txt"

func run(ctx context.Context) error {
	only := flag.String("only", "", "mutants whose name matches this `regexp` alone")
	list := flag.Bool("list", false, "list the mutants and end")
	limit := flag.Duration("timeout", 2*time.Minute, "for one run of tests; a longer one has noticed the mutant")
	slow := flag.Duration("slow", 10*time.Second, "leave out tests that take longer")
	others := flag.String("dependents", "./pkg/... ./internal/... ./cmd/... ./policies", "`packages` whose tests count where they depend on the mutated one; empty: none")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if flag.NArg() == 0 {
		return errors.New("no package: name one, like ./pkg/jwtverify or ./pkg/jwtverify:verifier.go,claims.go")
	}
	excused, err := readEquivalent(equivalents)
	if err != nil {
		return err
	}
	packages, mutants, err := findMutants(flag.Args())
	if err != nil {
		return err
	}
	mutants = slices.DeleteFunc(mutants, func(m *mutant) bool { return !wanted.MatchString(m.name()) })
	if *list {
		for _, m := range mutants {
			fmt.Println(m.name())
		}
		return nil
	}
	work, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	t := trial{work: work, limit: *limit, slow: *slow, packages: packages}
	if err := t.build(ctx, strings.Fields(*others)); err != nil {
		return err
	}
	if err := t.tryAll(ctx, mutants); err != nil {
		return err
	}
	return judge(packages, mutants, excused)
}

// share of a package's checks that may be listed as equivalent: one in this many.
const share = 20

// judge compares the survivors with those that are excused.
func judge(packages []*source, mutants []*mutant, excused map[string]string) error {
	type tally struct{ checks, killed, listed int }
	tallies := map[string]*tally{}
	var problems []string
	for _, m := range mutants {
		t := tallies[m.dir]
		if t == nil {
			t = &tally{}
			tallies[m.dir] = t
		}
		t.checks++
		_, excusable := excused[m.name()]
		switch {
		case m.outcome == killed && excusable:
			problems = append(problems, m.name()+" is listed in equivalent.txt, and "+m.noticed+" notices it: remove the line")
			t.killed++
		case m.outcome == killed:
			t.killed++
		case m.outcome == invalid:
			problems = append(problems, m.name()+" does not compile")
		case excusable:
			t.listed++
		default:
			problems = append(problems, m.name()+" survived: no test notices that this check is gone")
		}
	}
	for _, p := range packages {
		problems = append(problems, unknown(p, excused)...)
		t := tallies[p.dir]
		if t == nil {
			continue
		}
		fmt.Printf("%s: %d checks switched off: %d noticed, %d listed as equivalent, %d neither\n",
			p.dir, t.checks, t.killed, t.listed, t.checks-t.killed-t.listed)
		if t.checks == len(p.mutants) && t.listed*share > t.checks {
			problems = append(problems, fmt.Sprintf("%s: %d of %d checks are listed in equivalent.txt, more than one in %d", p.dir, t.listed, t.checks, share))
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// unknown finds what is listed for the package and is no check of it.
func unknown(p *source, excused map[string]string) (problems []string) {
	known := map[string]bool{}
	for _, m := range p.mutants {
		known[m.name()] = true
	}
	for name := range excused {
		file, _, _ := strings.Cut(name, ": ")
		if "./"+path.Dir(file) == p.dir && !known[name] {
			problems = append(problems, name+" is listed in equivalent.txt, and there is no such check")
		}
	}
	return problems
}

// readEquivalent reads lines of a mutant's name, " # " and the reason.
func readEquivalent(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, why, ok := strings.Cut(line, " # ")
		if !ok || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("%s: %q gives no reason after \" # \"", file, line)
		}
		list[strings.TrimSpace(name)] = why
	}
	return list, nil
}
