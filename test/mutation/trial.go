package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// trial has the packages to mutate and the test binaries that try their mutants.
type trial struct {
	work        string
	limit, slow time.Duration
	packages    []*source
	suites      []*suite
	dependsOn   map[*suite][]string // directories of mutated packages
}

// build compiles the tests of the packages and of those packages of others that
// depend on them, each once.
func (t *trial) build(ctx context.Context, others []string) error {
	overlay, err := t.overlay()
	if err != nil {
		return err
	}
	list, err := t.findSuites(ctx, others)
	if err != nil {
		return err
	}
	for i, s := range list {
		fmt.Printf("building %d/%d  %s\n", i+1, len(list), s.path)
		s.binary = filepath.Join(t.work, strings.ReplaceAll(s.path, "/", "-")+".test")
		if overlay, err = t.compile(ctx, s, overlay); err != nil {
			return err
		}
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	t.suites = list
	return nil
}

// compile builds one binary. Mutants that do not compile are left out, and that is
// their outcome.
func (t *trial) compile(ctx context.Context, s *suite, overlay string) (string, error) {
	for again := true; ; again = false {
		command := exec.CommandContext(ctx, "go", "test", "-c", "-vet", "off", "-overlay", overlay, "-o", s.binary, s.path)
		output, err := command.CombinedOutput()
		if err == nil {
			return overlay, nil
		}
		if !again || !t.leaveOut(string(output)) {
			return "", fmt.Errorf("building the tests of %s: %w\n%s", s.path, err, output)
		}
		if overlay, err = t.overlay(); err != nil {
			return "", err
		}
	}
}

var compileError = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):\d+: `)

// leaveOut marks the mutants on lines that the compiler complains of.
func (t *trial) leaveOut(output string) (some bool) {
	for _, found := range compileError.FindAllStringSubmatch(output, -1) {
		line, _ := strconv.Atoi(found[2])
		for _, p := range t.packages {
			for _, m := range p.mutants {
				if m.line == line && strings.HasSuffix(filepath.ToSlash(found[1]), m.file) {
					m.outcome, some = invalid, true
				}
			}
		}
	}
	return some
}

// overlay writes the rewritten files and the list of them that go reads.
func (t *trial) overlay() (string, error) {
	replace := map[string]string{}
	for _, p := range t.packages {
		files, err := p.rewritten()
		if err != nil {
			return "", err
		}
		for name, text := range files {
			original, err := filepath.Abs(name)
			if err != nil {
				return "", err
			}
			replace[original] = filepath.Join(t.work, strings.ReplaceAll(name, "/", "-"))
			if err := os.WriteFile(replace[original], text, 0o600); err != nil {
				return "", err
			}
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(t.work, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// findSuites lists the packages with tests that depend on a mutated one, the
// mutated ones first.
func (t *trial) findSuites(ctx context.Context, others []string) ([]*suite, error) {
	args := append([]string{"list", "-test", "-json=ImportPath,Dir,ForTest,Deps"}, others...)
	for _, p := range t.packages {
		args = append(args, p.dir)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	type listed struct {
		ImportPath, Dir string
		Deps            []string
	}
	var all []listed
	importPath := map[string]string{} // of the mutated packages, to their directories
	for decoder := json.NewDecoder(strings.NewReader(string(output))); decoder.More(); {
		var l listed
		if err := decoder.Decode(&l); err != nil {
			return nil, err
		}
		all = append(all, l)
		for _, p := range t.packages {
			isPackage := !strings.Contains(l.ImportPath, " ") && !strings.HasSuffix(l.ImportPath, ".test")
			if dir, err := filepath.Abs(p.dir); err == nil && dir == l.Dir && isPackage {
				importPath[l.ImportPath] = p.dir
			}
		}
	}
	t.dependsOn = map[*suite][]string{}
	var own, rest []*suite
	for _, l := range all {
		tested, ok := strings.CutSuffix(l.ImportPath, ".test")
		if !ok {
			continue
		}
		s := &suite{path: tested, dir: l.Dir}
		for _, dep := range l.Deps {
			dep, _, _ = strings.Cut(dep, " ")
			if dir := importPath[dep]; dir != "" && !slices.Contains(t.dependsOn[s], dir) {
				t.dependsOn[s] = append(t.dependsOn[s], dir)
			}
		}
		switch {
		case importPath[tested] != "":
			own = append(own, s)
		case len(t.dependsOn[s]) > 0:
			rest = append(rest, s)
		}
	}
	return append(own, rest...), nil
}

// tryAll finds the outcome of each mutant: by the tests of its own package first,
// then, where they notice nothing, by those of the packages that depend on it.
func (t *trial) tryAll(ctx context.Context, mutants []*mutant) error {
	for _, m := range mutants {
		if m.outcome != invalid {
			m.outcome = survived
		}
	}
	for _, own := range []bool{true, false} {
		for _, s := range t.suites {
			left := slices.DeleteFunc(slices.Clone(mutants), func(m *mutant) bool {
				return m.outcome != survived || own != (t.dirOf(s) == m.dir) || !slices.Contains(t.dependsOn[s], m.dir)
			})
			if err := t.try(ctx, s, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// try runs the tests of the suite against mutants that survived so far.
func (t *trial) try(ctx context.Context, s *suite, mutants []*mutant) error {
	if len(mutants) == 0 {
		return nil
	}
	if err := t.measure(ctx, s); err != nil {
		return err
	}
	return inParallel(ctx, mutants, func(m *mutant) {
		if m.noticed = s.notices(ctx, m, t.limit); m.noticed != "" {
			m.outcome = killed
		}
	}, func(done int, m *mutant) {
		fmt.Printf("%s %4d/%d  %-8s  %s  (%s)\n", filepath.Base(s.path), done, len(mutants), m.outcome, m.name(), m.noticed)
	})
}

// dirOf is the directory of the mutated package that the suite tests, or "".
func (t *trial) dirOf(s *suite) string {
	for _, p := range t.packages {
		if dir, err := filepath.Abs(p.dir); err == nil && dir == s.dir {
			return p.dir
		}
	}
	return ""
}

// measure runs each test of the suite alone, once, and names those that take no part.
func (t *trial) measure(ctx context.Context, s *suite) error {
	if s.measured {
		return nil
	}
	s.measured = true
	fmt.Printf("%s: which of %d tests reaches which check\n", s.path, len(s.tests))
	began := time.Now()
	errs := make([]error, len(s.tests))
	index := map[*test]int{}
	for i, one := range s.tests {
		index[one] = i
	}
	err := inParallel(ctx, s.tests, func(one *test) {
		errs[index[one]] = one.measure(ctx, t.work, min(t.limit, t.slow))
	}, func(_ int, one *test) {
		if one.failed {
			fmt.Printf("%s: left out, as without a mutant it ends with %s after %s: %s\n",
				s.path, one.failure, one.took.Round(time.Millisecond), one.name)
		}
	})
	var sum time.Duration
	for _, one := range s.tests {
		if !one.failed {
			sum += one.took
		}
	}
	fmt.Printf("%s: measured in %s; its tests take %s\n", s.path, time.Since(began).Round(time.Second), sum.Round(time.Second))
	return errors.Join(append(errs, err)...)
}

// inParallel does the work of each item, as many at a time as there are cores, and
// reports each that is done.
func inParallel[T any](ctx context.Context, items []T, work func(T), report func(int, T)) error {
	next := make(chan T)
	var workers sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for item := range next {
				work(item)
				mu.Lock()
				done++
				report(done, item)
				mu.Unlock()
			}
		})
	}
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		next <- item
	}
	close(next)
	workers.Wait()
	return ctx.Err()
}
