// Package binary looks at what `make build` makes, which the image holds.
package binary

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	mib = 1 << 20
	// maxSize has a little room above what the service needs. A dependency that
	// asks reflection for methods by name takes 11 MiB at once: the linker then
	// keeps all methods of all types. CONTRIBUTING.md tells how to find it.
	maxSize = 38 * mib
)

func TestBinary(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			dir := t.TempDir()
			build := exec.Command("make", "-C", "../..", "build", "BIN="+dir, "VERSION=v0.0.0-test")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("make build: %v\n%s", err, out)
			}
			for _, name := range []string{"ussoauthz", "ussodev"} {
				checkStatic(t, filepath.Join(dir, name), machine)
			}
			info, err := os.Stat(filepath.Join(dir, "ussoauthz"))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f MiB", float64(info.Size())/mib)
			if info.Size() > maxSize {
				t.Errorf("ussoauthz takes %.1f MiB, more than %d", float64(info.Size())/mib, maxSize/mib)
			}
		})
	}
}

// The command of CONTRIBUTING.md names whoever makes the linker keep every method:
// nobody.
func TestNobodyAsksForMethodsByName(t *testing.T) {
	page, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, command, _ := strings.Cut(string(page), "nothing as things are:\n\n```sh\n")
	command, _, found := strings.Cut(command, "```")
	if !found || !strings.Contains(command, "./cmd/ussoauthz") {
		t.Fatal("CONTRIBUTING.md has no such command")
	}
	if told := tell(t, command); told != "" {
		t.Errorf("somebody does:\n%s", told)
	}
	command = strings.ReplaceAll(command, "./cmd/ussoauthz", "./test/binary/methods")
	if told := tell(t, command); !strings.Contains(told, "main.main <ReflectMethod>\n") {
		t.Errorf("a program that does goes unnoticed:\n%s", told)
	}
}

func tell(t *testing.T, command string) string {
	t.Helper()
	shell := exec.Command("bash", "-c", command)
	shell.Dir = "../.."
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// checkStatic finds what would keep a binary from starting in an empty image,
// and symbols.
func checkStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // read only
	if f.Machine != machine {
		t.Errorf("%s is for %v, want %v", path, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has %v", path, p.Type)
		}
	}
	for _, name := range []string{".symtab", ".debug_info", ".zdebug_info"} {
		if f.Section(name) != nil {
			t.Errorf("%s is not stripped: it has %s", path, name)
		}
	}
}
