package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one condition of a package, switched off.
type mutant struct {
	dir, file string // of the form ./pkg/tenants, pkg/tenants/host.go
	function  string
	condition string // as it stands in the source, spaces joined
	nth       int    // of the same condition in one function, from 1
	number    int    // in its package, from 1
	line      int

	from, to int // its bytes in the file

	outcome outcome
	noticed string // the test that failed, or how the tests ended
}

// outcome of one mutant's tests.
type outcome int

const (
	killed outcome = iota
	survived
	invalid // it does not compile
)

func (o outcome) String() string { return [...]string{"noticed", "SURVIVED", "INVALID"}[o] }

// name identifies the check, whatever lines come and go around it.
func (m *mutant) name() string {
	name := fmt.Sprintf("%s: %s: %s", m.file, m.function, m.condition)
	if m.nth > 1 {
		name += fmt.Sprintf(" (%d)", m.nth)
	}
	return name
}

// source is a package with all its checks, whichever of them are tried.
type source struct {
	dir     string
	name    string // of the package clause
	mutants []*mutant
}

// findMutants reads arguments of the form dir or dir:file,file. It returns the
// packages whole, and those of their mutants that the arguments name.
func findMutants(args []string) (packages []*source, named []*mutant, err error) {
	for _, arg := range args {
		dir, names, some := strings.Cut(arg, ":")
		dir = "./" + path.Clean(filepath.ToSlash(dir))
		s, err := readPackage(dir)
		if err != nil {
			return nil, nil, err
		}
		packages = append(packages, s)
		count := len(named)
		for _, m := range s.mutants {
			if !some || slices.Contains(strings.Split(names, ","), path.Base(m.file)) {
				named = append(named, m)
			}
		}
		if len(named) == count {
			return nil, nil, fmt.Errorf("%s has no check", arg)
		}
	}
	return packages, named, nil
}

func readPackage(dir string) (*source, error) {
	p, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	s := &source{dir: dir, name: p.Name}
	for _, file := range p.GoFiles {
		found, err := mutantsOf(path.Join(dir, file))
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			m.dir, m.number = dir, len(s.mutants)+1
			s.mutants = append(s.mutants, m)
		}
	}
	return s, nil
}

func mutantsOf(file string) (mutants []*mutant, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, declaration := range tree.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok || function.Body == nil {
			continue
		}
		seen := map[string]int{}
		for _, check := range checks(function.Body) {
			from, to := files.Position(check.Pos()), files.Position(check.End())
			joined := strings.Join(strings.Fields(string(text[from.Offset:to.Offset])), " ")
			seen[joined]++
			mutants = append(mutants, &mutant{
				file: file, function: function.Name.Name, condition: joined, nth: seen[joined],
				line: from.Line, from: from.Offset, to: to.Offset,
			})
		}
	}
	return mutants, nil
}

// checks are the conditions that make a function return early: of an if, of a
// case of a switch without a value. Each part of an "or" is one of its own.
func checks(body *ast.BlockStmt) (conditions []ast.Expr) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			if returns(n.Body.List) {
				conditions = append(conditions, parts(n.Cond)...)
			}
		case *ast.SwitchStmt:
			if n.Tag != nil {
				break
			}
			for _, clause := range n.Body.List {
				clause := clause.(*ast.CaseClause)
				if !returns(clause.Body) {
					continue
				}
				for _, condition := range clause.List {
					conditions = append(conditions, parts(condition)...)
				}
			}
		}
		return true
	})
	return conditions
}

func returns(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	_, ok := body[len(body)-1].(*ast.ReturnStmt)
	return ok
}

func parts(condition ast.Expr) []ast.Expr {
	switch c := condition.(type) {
	case *ast.ParenExpr:
		return parts(c.X)
	case *ast.BinaryExpr:
		if c.Op == token.LOR {
			return append(parts(c.X), parts(c.Y)...)
		}
	}
	return []ast.Expr{condition}
}

// rewritten returns the files of the package, by name, with each condition behind
// a switch, and the file with the switches. Lines stay where they are.
func (s *source) rewritten() (map[string][]byte, error) {
	type insertion struct {
		at, order int
		text      string
	}
	inserts := map[string][]insertion{}
	for _, m := range s.mutants {
		if m.outcome == invalid {
			continue
		}
		inserts[m.file] = append(inserts[m.file],
			insertion{m.from, 1, fmt.Sprintf("(mutationOn(%d) && (", m.number)}, insertion{m.to, 0, "))"})
	}
	files := map[string][]byte{path.Join(s.dir, "zz_mutation.go"): fmt.Appendf(nil, switches, s.name, s.dir, len(s.mutants))}
	for file, list := range inserts {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(list, func(a, b insertion) int { return 2*(a.at-b.at) + a.order - b.order })
		var out []byte
		at := 0
		for _, i := range list {
			out = append(append(out, text[at:i.at]...), i.text...)
			at = i.at
		}
		files[file] = append(out, text[at:]...)
	}
	return files, nil
}

// switches is the file that a rewritten package gets: its name, its directory, and
// how many checks it has. A check that runs while variables of its package are
// made ready finds mutationOff ready, as Go orders them, or 0, which is no mutant.
const switches = `package %s

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

const mutationPackage = %q

var (
	mutationOff     = mutationChosen()
	mutationReached = mutationRecord(%d)
)

func mutationOn(n int) bool {
	if mutationReached != nil {
		mutationNote(n)
	}
	return n != mutationOff
}

func mutationChosen() int {
	dir, number, _ := strings.Cut(os.Getenv("MUTATION_OFF"), ":")
	if dir != mutationPackage {
		return 0
	}
	n, _ := strconv.Atoi(number)
	return n
}

func mutationRecord(count int) []atomic.Bool {
	if os.Getenv("MUTATION_REACHED") == "" {
		return nil
	}
	return make([]atomic.Bool, count+1)
}

// mutationNote makes an empty file: a test may bound the size of files, and may run
// as a user who is allowed little.
func mutationNote(n int) {
	if mutationReached[n].Swap(true) {
		return
	}
	name := strings.ReplaceAll(mutationPackage, "/", "+") + ":" + strconv.Itoa(n)
	if file, err := os.Create(os.Getenv("MUTATION_REACHED") + "/" + name); err == nil {
		file.Close()
	}
}
`
