// Command mutation asks of each check on the road of a request whether a test
// would notice if it were gone. It switches one condition off at a time, by
// go test's -overlay, so that no file is touched, and runs the package's tests:
// a mutant that passes them is a check that nothing proves.
//
// Survivors that can't be told from the original are listed, with the reason,
// in equivalent.txt; an entry that fits no survivor is a fault too.
//
//	go run ./test/mutation [-only REGEXP] [-list] PACKAGE[:FILE,FILE…]…
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "mutants whose name matches this `regexp` alone")
	list := flag.Bool("list", false, "list the mutants and end")
	limit := flag.Duration("timeout", 2*time.Minute, "for the tests of one mutant")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if flag.NArg() == 0 {
		return errors.New("no package: name one, like ./pkg/jwtverify:verifier.go,claims.go")
	}
	excused, err := readEquivalent("test/mutation/equivalent.txt")
	if err != nil {
		return err
	}
	var mutants []mutant
	for _, arg := range flag.Args() {
		found, err := findMutants(arg)
		if err != nil {
			return err
		}
		mutants = append(mutants, found...)
	}
	mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !wanted.MatchString(m.name()) })
	if *list {
		for _, m := range mutants {
			fmt.Println(m.name())
		}
		return nil
	}
	return judge(mutants, tryAll(ctx, mutants, *limit), excused, *only == "")
}

// outcome of one mutant's tests.
type outcome int

const (
	killed outcome = iota
	survived
	invalid // it does not compile
)

// tryAll runs the tests of every mutant, two at a time or as many as there are
// cores.
func tryAll(ctx context.Context, mutants []mutant, limit time.Duration) []outcome {
	outcomes := make([]outcome, len(mutants))
	next := make(chan int)
	var workers sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				outcomes[i] = try(ctx, mutants[i], limit)
				mu.Lock()
				done++
				fmt.Printf("%4d/%d  %-8s  %s\n", done, len(mutants), outcomes[i], mutants[i].name())
				mu.Unlock()
			}
		})
	}
	for i := range mutants {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	return outcomes
}

func (o outcome) String() string { return [...]string{"killed", "SURVIVED", "INVALID"}[o] }

// try runs the tests with the mutant in place of its file. Tests that hang are
// tests that noticed.
func try(ctx context.Context, m mutant, limit time.Duration) outcome {
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return invalid
	}
	defer os.RemoveAll(dir)
	mutated, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		return invalid
	}
	text := fmt.Sprintf(`{"Replace": {%q: %q}}`, original, mutated)
	if os.WriteFile(mutated, m.source, 0o600) != nil || os.WriteFile(overlay, []byte(text), 0o600) != nil {
		return invalid
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A loop that lost its end can take all memory of the machine, and outlive
	// go test where that alone is ended.
	command := exec.CommandContext(ctx, "sh", "-c", `ulimit -v 8388608 && exec "$0" "$@"`,
		"go", "test", "-overlay", overlay, "-count", "1", "-failfast", "-vet", "off", m.dir)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	output, err := command.CombinedOutput()
	switch {
	case err == nil:
		return survived
	case strings.Contains(string(output), "[build failed]"):
		return invalid
	}
	return killed
}

// judge compares the survivors with those that are excused.
func judge(mutants []mutant, outcomes []outcome, excused map[string]string, whole bool) error {
	count := map[outcome]int{}
	used := map[string]bool{}
	var faults []string
	for i, m := range mutants {
		count[outcomes[i]]++
		_, excusable := excused[m.name()]
		used[m.name()] = excusable && outcomes[i] == survived
		switch {
		case outcomes[i] == invalid:
			faults = append(faults, m.name()+" does not compile")
		case outcomes[i] == survived && !excusable:
			faults = append(faults, m.name()+" survived: no test notices that this check is gone")
		case outcomes[i] == killed && excusable:
			faults = append(faults, m.name()+" is listed in equivalent.txt, and a test notices it: remove the line")
		}
	}
	for name := range excused {
		if _, tried := used[name]; whole && !tried {
			faults = append(faults, name+" is listed in equivalent.txt, and there is no such check")
		}
	}
	fmt.Printf("%d checks switched off: %d noticed, %d not (%d of them listed as equivalent)\n",
		len(mutants), count[killed], count[survived], countTrue(used))
	if len(faults) > 0 {
		slices.Sort(faults)
		return errors.New(strings.Join(faults, "\n"))
	}
	return nil
}

func countTrue(set map[string]bool) (n int) {
	for _, v := range set {
		if v {
			n++
		}
	}
	return n
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
