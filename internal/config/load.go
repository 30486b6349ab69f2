package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"go.yaml.in/yaml/v3"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// document is the file: the configuration, and what becomes Config.Tenants.
type document struct {
	Config
	Defaults *yaml.Node `yaml:"defaults"`
	Tenants  *yaml.Node `yaml:"tenants"`
}

// Load reads the file at path. Its error is Faults: all of them.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{{File: path, Problem: err.Error()}}
	}
	return Parse(path, data, os.LookupEnv)
}

// Stale reports whether the file holds something else by now.
func (c *Config) Stale() bool {
	if c.Path == "" {
		return false
	}
	data, err := readFile(c.Path)
	return err != nil || sha256.Sum256(data) != c.Digest
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plainError(err)
	}
	defer f.Close()
	// One byte more than Parse takes: it refuses what is larger.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plainError(err)
	}
	return data, nil
}

// plainError drops the file's name from a file error: a fault names it already.
func plainError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("can't be read: %w", p.Err)
	}
	return fmt.Errorf("can't be read: %w", err)
}

// Inspect is Load for tools that go on where the file has faults: it returns the
// configuration as far as it could be read, nil where it is no YAML at all, and
// its faults. A configuration with faults MUST NOT be served.
func Inspect(path string) (*Config, Errors) {
	data, err := readFile(path)
	if err != nil {
		return nil, Errors{{File: path, Problem: err.Error()}}
	}
	return inspect(path, data, os.LookupEnv)
}

// Parse is Load for a file's content at hand: path is its name in faults, and
// relative file names in it begin in path's folder. Its error is Faults.
func Parse(path string, data []byte, lookup LookupEnv) (*Config, error) {
	c, faults := inspect(path, data, lookup)
	if len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

// inspect returns faults in their order.
func inspect(path string, data []byte, lookup LookupEnv) (*Config, Errors) {
	root, fault := parseYAML(data)
	if fault != nil {
		fault.File = path
		return nil, Errors{*fault}
	}
	d := newDecoder(path, lookup)
	doc := document{Config: Default()}
	d.value(root, reflect.ValueOf(&doc).Elem(), nil)
	c := &doc.Config
	c.Path, c.Dir, c.Digest = path, filepath.Dir(path), sha256.Sum256(data)

	list := d.blocks(doc.Defaults, doc.Tenants)
	c.Tenants = make([]tenants.Config, len(list))
	for i := range list {
		c.Tenants[i] = list[i].Config
	}
	k := &checker{c: c, blocks: list, d: d, place: func(field string) (int, string) { return lineOf(root, field), field }}
	k.all()
	if d.truncated {
		d.errs = append(d.errs, FieldError{File: path, Line: lastLine(d.errs), Problem: fmt.Sprintf("has more than %d faults; the rest is not shown", maxErrors)})
	}
	d.errs.sort()
	Errors(c.Warnings).sort()
	alone := *c // c is a part of doc, and would keep the whole tree of the file in memory
	return &alone, d.errs
}

func lastLine(list Errors) (line int) {
	for i := range list {
		line = max(line, list[i].Line)
	}
	return line
}
