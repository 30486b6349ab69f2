package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a file with one condition switched off.
type mutant struct {
	dir, file string
	function  string
	condition string // as it stands in the source, blanks joined
	nth       int    // of the same condition in one function, from 1
	source    []byte
}

// name says which check it is, whatever lines come and go around it.
func (m mutant) name() string {
	name := fmt.Sprintf("%s: %s: %s", filepath.ToSlash(filepath.Clean(m.file)), m.function, m.condition)
	if m.nth > 1 {
		name += fmt.Sprintf(" (%d)", m.nth)
	}
	return name
}

// findMutants reads "dir" or "dir:file,file".
func findMutants(arg string) ([]mutant, error) {
	dir, names, some := strings.Cut(arg, ":")
	var files []string
	if some {
		for _, name := range strings.Split(names, ",") {
			files = append(files, filepath.Join(dir, name))
		}
	} else {
		all, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range all {
			if !strings.HasSuffix(name, "_test.go") {
				files = append(files, name)
			}
		}
	}
	var mutants []mutant
	for _, file := range files {
		found, err := mutantsOf(dir, file)
		if err != nil {
			return nil, err
		}
		mutants = append(mutants, found...)
	}
	if len(mutants) == 0 {
		return nil, fmt.Errorf("%s has no check", arg)
	}
	return mutants, nil
}

func mutantsOf(dir, file string) ([]mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var mutants []mutant
	for _, declaration := range tree.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok || function.Body == nil {
			continue
		}
		seen := map[string]int{}
		for _, check := range checks(function.Body) {
			from, to := files.Position(check.Pos()).Offset, files.Position(check.End()).Offset
			condition := string(source[from:to])
			joined := strings.Join(strings.Fields(condition), " ")
			seen[joined]++
			changed := string(source[:from]) + "(false && (" + condition + "))" + string(source[to:])
			mutants = append(mutants, mutant{
				dir: dir, file: file, function: function.Name.Name, condition: joined, nth: seen[joined], source: []byte(changed),
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
