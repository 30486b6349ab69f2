package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// suite is the test binary of one package.
type suite struct {
	path   string // of the package
	dir    string // where its tests run
	binary string
	tests  []*test

	measured bool
}

// test is one top-level test, example, or fuzz target with its seeds.
type test struct {
	name    string
	suite   *suite
	took    time.Duration
	failed  bool // without a mutant: it proves nothing
	failure string
	reaches map[string]bool // mutants, as dir:number
}

// command runs the binary with the memory bounded: a loop that lost its end can
// take all memory of the machine. It ends with everything that it started.
func (s *suite) command(ctx context.Context, env string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "sh", append([]string{"-c", `ulimit -v 8388608 && exec "$0" "$@"`, s.binary}, args...)...)
	command.Dir = s.dir
	command.Env = append(os.Environ(), env)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	return command
}

// list reads the names of the tests.
func (s *suite) list(ctx context.Context) error {
	output, err := s.command(ctx, "MUTATION_OFF=", "-test.list", ".").Output()
	if err != nil {
		return fmt.Errorf("listing the tests of %s: %w", s.path, err)
	}
	for name := range strings.Lines(string(output)) {
		name = strings.TrimSpace(name)
		if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example") {
			s.tests = append(s.tests, &test{name: name, suite: s})
		}
	}
	return nil
}

// measure runs the test alone, without a mutant, and notes which checks it reaches.
func (t *test) measure(ctx context.Context, work string, limit time.Duration) error {
	dir, err := os.MkdirTemp(work, "reached-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(work, 0o711), os.Chmod(dir, 0o777)); err != nil { // #nosec G302 -- a test may run a program as another user
		return err
	}
	began := time.Now()
	t.failure = runTests(ctx, "MUTATION_REACHED="+dir, limit, []*test{t})
	t.took, t.failed = time.Since(began), t.failure != ""
	if ctx.Err() != nil {
		return ctx.Err()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	t.reaches = map[string]bool{}
	for _, entry := range entries {
		t.reaches[strings.ReplaceAll(entry.Name(), "+", "/")] = true
	}
	return nil
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// runTests runs tests of one suite in one process. It returns the name of a test that
// failed, or how the process ended, or "" where all passed.
func runTests(ctx context.Context, env string, limit time.Duration, tests []*test) string {
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = t.name
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	output, err := tests[0].suite.command(ctx, env, "-test.run", "^("+strings.Join(names, "|")+")$",
		"-test.failfast", "-test.timeout", limit.String()).CombinedOutput()
	switch {
	case err == nil:
		return ""
	case ctx.Err() != nil:
		return "the end of its time"
	}
	if found := failedTest.FindSubmatch(output); found != nil {
		return string(found[1])
	}
	return err.Error()
}

// quick tests of a suite run together; then each of the others, the faster first.
const quick = 300 * time.Millisecond

// notices runs those tests of the suite that reach the mutant.
func (s *suite) notices(ctx context.Context, m *mutant, limit time.Duration) string {
	point := fmt.Sprintf("%s:%d", m.dir, m.number)
	var together, alone []*test
	for _, t := range s.tests {
		switch {
		case t.failed || !t.reaches[point]:
		case t.took < quick:
			together = append(together, t)
		default:
			alone = append(alone, t)
		}
	}
	slices.SortFunc(alone, func(a, b *test) int { return cmp.Compare(a.took, b.took) })
	groups := [][]*test{together}
	for _, t := range alone {
		groups = append(groups, []*test{t})
	}
	for _, tests := range groups {
		if len(tests) == 0 {
			continue
		}
		// Other programs take their share of the machine.
		expected := 20 * time.Second
		for _, t := range tests {
			expected += 5 * t.took
		}
		if noticed := runTests(ctx, "MUTATION_OFF="+point, min(limit, expected), tests); noticed != "" && s.repeats(ctx, point, noticed, limit) {
			return noticed
		}
	}
	return ""
}

// repeats reports whether the failure of a test comes again, so that a test that
// fails now and then by itself notices nothing.
func (s *suite) repeats(ctx context.Context, point, noticed string, limit time.Duration) bool {
	i := slices.IndexFunc(s.tests, func(t *test) bool { return t.name == noticed })
	return i < 0 || runTests(ctx, "MUTATION_OFF="+point, limit, s.tests[i:i+1]) != ""
}
