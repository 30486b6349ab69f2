package policy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// A sweep calls a builtin with hostile arguments, in a process of its own: it
// may end that process, fill its memory, or never return.

// sweepLimit is the time limit of an evaluation during the sweep, as by default.
const sweepLimit = DefaultTimeout

const (
	sweepEnv    = "USSOAUTHZ_SWEEP" // the builtin, the number of the only call, or of the first with the step to the next
	sweepMemory = 4 << 30           // of address space
	sweepStop   = 5 * time.Second   // of processor time for one call
)

func TestMain(m *testing.M) {
	if job := os.Getenv(sweepEnv); job != "" {
		work := sweepWorker
		if name, ok := strings.CutPrefix(job, "afterwards "); ok {
			work = func(string) error { return afterwardsWorker(name) }
		}
		if err := work(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hostileCall is a builtin with arguments.
type hostileCall struct {
	name      string
	arguments []argument
}

// sweepPartners are what stands beside a hostile argument, by the beginning of the builtin's name.
var sweepPartners = []struct {
	prefix string
	texts  []string
}{
	{"graphql.", []string{"GraphQL, a schema", "GraphQL, a small query", "GraphQL, fields", "GraphQL, one field"}},
	{"regex.", []string{"a pattern that is repeated", "a pattern of 1000 repetitions", "a pattern of nested stars", "a pattern of any words", "a pattern for everything", "globs for a product"}},
	{"re_match", []string{"a pattern that is repeated", "a pattern of any words"}},
	{"glob.", []string{"a glob of stars", "a glob of some nested ones", "a glob of double stars"}},
	{"json.match_schema", []string{"a schema that doubles", "a schema", "a schema of a pattern", "a schema of unique items", "a schema that follows the value", "a schema of choices", "JSON, a list of numbers", "JSON, nested lists", "JSON, an object of names"}},
	{"io.jwt.", []string{"a token", "a token by RS256", "a token by PS512", "a token by ES256", "a token by EdDSA", "a huge RSA key", "a large RSA key", "a set of keys", "a set of keys for HMAC", "certificates", "a certificate of a huge key"}},
	{"crypto.x509.", []string{"an RSA private key", "certificates"}},
	{"time.", []string{"a layout", "a layout again", "a time", "a zone"}},
	{"net.", []string{"a wide CIDR", "a wide CIDR of IPv6", "an address"}},
	{"semver.", []string{"a version", "a version of parts", "a version of numbers"}},
}

func partnersOf(builtin string, t types.Type) []argument {
	list := plainOf(t)[:1]
	names := []string{`"a" again and again`}
	for _, p := range sweepPartners {
		if strings.HasPrefix(builtin, p.prefix) {
			names = append(names, p.texts...)
		}
	}
	for _, kind := range []string{"words", "addresses", "one letter", "trees", "neighbours"} {
		names = append(names, "a list of "+kind, "a set of "+kind)
	}
	names = append(names, "an object of words", "the number 9223372036854775807", "a schema that doubles", "options for pretty JSON", "a set of the other neighbours", "a request to AWS", "a header of a token", "a key for HMAC")
	for _, candidate := range hostileOf(builtin, t) {
		if slices.Contains(names, candidate.name) {
			list = append(list, candidate)
		}
	}
	return list
}

// hostileCalls are all calls of a builtin: each hostile argument, beside plain
// ones, beside partners, and beside itself.
func hostileCalls(decl *ast.Builtin) (calls []hostileCall) {
	params := decl.Decl.FuncArgs().Args
	if len(params) == 0 && decl.Decl.FuncArgs().Variadic != nil {
		params = []types.Type{decl.Decl.FuncArgs().Variadic}
	}
	if len(params) == 0 {
		return []hostileCall{{"no argument", nil}}
	}
	seen := map[string]bool{}
	add := func(arguments []argument) {
		names := make([]string, len(arguments))
		for i, a := range arguments {
			names[i] = a.name
		}
		if name := strings.Join(names, " × "); !seen[name] {
			seen[name] = true
			calls = append(calls, hostileCall{name, slices.Clone(arguments)})
		}
	}
	if strings.HasPrefix(decl.Name, "regex.") && len(params) > 1 { // all that its limit lets through
		arguments := make([]argument, len(params))
		for i, p := range params {
			arguments[i] = plainOf(p)[0]
		}
		pattern, text := 0, 1
		if decl.Name == ast.RegexReplace.Name {
			pattern, text = 1, 0
		}
		arguments[pattern] = argument{"a pattern that is repeated", func() ast.Value { return ast.String(documents["a pattern that is repeated"]()) }}
		arguments[text] = argument{"10,000 letters", func() ast.Value { return ast.String(strings.Repeat("ab", 5000)) }}
		add(arguments)
	}
	partners := make([][]argument, len(params))
	most := 0
	for i, p := range params {
		partners[i] = partnersOf(decl.Name, p)
		most = max(most, len(partners[i]))
	}
	for i, p := range params {
		for _, hostile := range hostileOf(decl.Name, p) {
			for round := -1; round < most; round++ {
				arguments := make([]argument, len(params))
				for j := range params {
					switch {
					case j == i || round < 0 && fmt.Sprint(params[j]) == fmt.Sprint(p):
						arguments[j] = hostile
					default:
						arguments[j] = partners[j][max(round, 0)%len(partners[j])]
					}
				}
				add(arguments)
			}
		}
	}
	return calls
}

// sweepPolicy calls the builtin with members of a body.
func sweepPolicy(decl *ast.Builtin, n int) string {
	args := make([]string, n)
	for i := range args {
		args[i] = fmt.Sprintf("input.parsed_body.a%d", i)
	}
	call := decl.Name + "(" + strings.Join(args, ", ") + ")"
	switch {
	case decl.Name == ast.Equality.Name || decl.Name == ast.Equal.Name:
		call = args[0] + " == " + args[1]
	case decl.Name == ast.Assign.Name:
		call = "x := " + args[0] + "; x == " + args[1]
	case decl.Relation:
		call = "some p, v; " + decl.Name + "(" + strings.Join(args, ", ") + ", [p, v])"
	case decl.Decl.Result() != nil:
		call = "x := " + call
	}
	return "package sweep\n\ndecision := count([1 | " + call + "]) >= 0\n"
}

// sweepResult is what one call took.
type sweepResult struct {
	Index     int           `json:"index"`
	Call      string        `json:"call"`
	Processor time.Duration `json:"processor"` // of the whole process
	Peak      int           `json:"peak"`      // MiB that were resident at most
	Outcome   string        `json:"outcome"`
}

const ended, endless = "the process ended", "no end"

func sweepBuiltin(name string) *ast.Builtin {
	i := slices.IndexFunc(capabilities(nil).Builtins, func(b *ast.Builtin) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	return capabilities(nil).Builtins[i]
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sweepWorker runs in the process of its own.
func sweepWorker(job string) error {
	parts := strings.Split(job, " ")
	decl := sweepBuiltin(parts[0])
	if decl == nil {
		return fmt.Errorf("no builtin %s", parts[0])
	}
	from, err := strconv.Atoi(parts[1])
	if err != nil {
		return err
	}
	calls := hostileCalls(decl)
	to, step := from+1, 1
	if len(parts) == 3 {
		if step, err = strconv.Atoi(parts[2]); err != nil {
			return err
		}
		to = len(calls)
	}
	e, err := sweepEngine(decl, len(calls[0].arguments))
	if err != nil {
		return err
	}
	if !raceDetector {
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: sweepMemory, Max: sweepMemory}); err != nil {
			return err
		}
	}
	for i := from; i < to; i += step {
		result := sweepOne(e, i, calls[i])
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			return err
		}
	}
	return nil
}

func sweepEngine(decl *ast.Builtin, n int) (*Engine, error) {
	dir, err := os.MkdirTemp("", "sweep")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "sweep.rego")
	if err := os.WriteFile(file, []byte(sweepPolicy(decl, n)), 0o600); err != nil {
		return nil, err
	}
	return New(context.Background(), Config{Entrypoint: "sweep/decision", Paths: []string{file}})
}

// sweepOne makes one call. It writes its number first, for the one that ends the process.
func sweepOne(e *Engine, i int, call hostileCall) sweepResult {
	members := make([][2]*ast.Term, len(call.arguments))
	for j, a := range call.arguments {
		members[j] = item(fmt.Sprintf("a%d", j), ast.NewTerm(a.build()))
	}
	input := ast.NewObject(item("parsed_body", object(members...)))
	fmt.Printf("{\"index\":%d,\"outcome\":%q,\"call\":%q}\n", i, ended, call.name)
	if peak() > 256 {
		debug.FreeOSMemory()
	}
	resetPeak()
	start := processorTime()
	watch := time.AfterFunc(sweepStop, func() {
		for processorTime()-start < sweepStop {
			time.Sleep(sweepStop / 50)
		}
		_ = json.NewEncoder(os.Stdout).Encode(sweepResult{Index: i, Call: call.name, Processor: processorTime() - start, Peak: peak(), Outcome: endless})
		os.Exit(0)
	})
	err := sweepEval(e, input)
	took := processorTime() - start
	watch.Stop()
	return sweepResult{Index: i, Call: call.name, Processor: took, Peak: peak(), Outcome: outcomeOf(err)}
}

// sweepEval survives a panic, as a decision does.
func sweepEval(e *Engine, input ast.Value) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the evaluation panicked: %v", r)
		}
	}()
	_, err = e.eval(context.Background(), sweepLimit, input)
	return err
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "a value"
	case errors.Is(err, errTooLong):
		return "too long"
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text[:min(len(text), 200)]
}

// resetPeak and peak follow the resident memory, in MiB.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func peak() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	rest, _, _ = strings.Cut(rest, "kB")
	kib, _ := strconv.Atoi(strings.TrimSpace(rest))
	return kib >> 10
}

// sweep makes all calls of a builtin from one on, in as many processes as it takes.
func sweep(t testing.TB, builtin string) (results []sweepResult) {
	t.Helper()
	n := len(hostileCalls(sweepBuiltin(builtin)))
	step := 1
	if *sweepCalls > 0 {
		step = max(1, n / *sweepCalls) | 1 // odd, not to miss every other partner
	}
	for from := 0; from < n; {
		got := sweepProcess(t, fmt.Sprintf("%s %d %d", builtin, from, step))
		if len(got) == 0 {
			t.Fatalf("%s: the sweep makes no call from %d on", builtin, from)
		}
		results = append(results, got...)
		from = got[len(got)-1].Index + step
	}
	return results
}

// runWorker returns what a job writes in a process of its own.
func runWorker(t testing.TB, job string) []byte {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sweepEnv+"="+job)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: the process ended: %v: %.2000s", job, err, stderr.String())
	}
	return out
}

func sweepProcess(t testing.TB, job string) (results []sweepResult) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sweepEnv+"="+job, "GOGC=100", "GOTRACEBACK=none")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var r sweepResult
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v: %s", job, err, lines.Text())
		}
		if n := len(results); n > 0 && results[n-1].Index == r.Index {
			results[n-1] = r
		} else {
			results = append(results, r)
		}
	}
	if err := cmd.Wait(); err != nil && len(results) > 0 && results[len(results)-1].Outcome == ended {
		text := strings.TrimSpace(stderr.String())
		text, _, _ = strings.Cut(text, "\n\n")
		results[len(results)-1].Outcome = ended + ": " + text[max(0, len(text)-100):]
	} else if err != nil {
		t.Fatalf("%s: %v: %.2000s", job, err, stderr.String())
	}
	return results
}

// sweptBuiltins are those that a policy can call.
func sweptBuiltins() (names []string) {
	for _, decl := range capabilities(nil).Builtins {
		if !decl.IsDeprecated() {
			names = append(names, decl.Name)
		}
	}
	slices.Sort(names)
	return names
}

// uncallable are those that no policy gets, or none that is written today.
func uncallable() (names []string) {
	for _, decl := range capabilities(nil).Builtins {
		if decl.IsDeprecated() {
			names = append(names, decl.Name)
		}
	}
	return append(names, slices.Collect(maps.Keys(withheld))...)
}

// What one call of each class may take, of the processor and of memory. A loop
// that looks at the time limit runs until then.
const (
	quickCall  = sweepLimit + 150*time.Millisecond
	besideCall = 6 * sweepLimit
	sweepPeak  = 512 // MiB
)

// sweepFactor is how much slower this machine is than the one that the bounds were set on.
func sweepFactor() float64 {
	const usual = 40 * time.Millisecond
	text := documents["JSON, a list of numbers"]()
	fastest := time.Hour
	for range 3 {
		start := processorTime()
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			panic(err)
		}
		fastest = min(fastest, processorTime()-start)
	}
	return max(1, float64(fastest)/float64(usual))
}

// classOf is the class of a builtin by what its calls took, and the call that
// took longest. What is beyond all bounds is an error: it needs a limit.
func classOf(builtin string, results []sweepResult, factor float64) (class builtinClass, worst sweepResult, err error) {
	for _, r := range results {
		if r.Processor >= worst.Processor {
			worst = r
		}
		if strings.HasPrefix(r.Outcome, ended) || r.Outcome == endless || float64(r.Processor) > factor*float64(besideCall) || r.Peak > sweepPeak {
			return "", r, fmt.Errorf("%s: %s: %v, %d MiB, %s", builtin, r.Call, r.Processor, r.Peak, r.Outcome)
		}
	}
	_, bounded := limits[builtin]
	switch {
	case float64(worst.Processor) > factor*float64(quickCall):
		return classBeside, worst, nil
	case bounded:
		return classBounded, worst, nil
	}
	return classLinear, worst, nil
}

const sweepTable = "testdata/builtins.tsv"

func tableSum(lines []string) string {
	return fmt.Sprintf("# sha256 %x", sha256.Sum256([]byte(strings.Join(lines, ""))))
}

func writeTable(t *testing.T, rows map[string]string) {
	t.Helper()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		lines = append(lines, name+"\t"+rows[name]+"\n")
	}
	text := "# Written by `make sweep`: builtin, class, the call that took longest. Not for editing.\n" + tableSum(lines) + "\n" + strings.Join(lines, "")
	if err := os.WriteFile(sweepTable, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readTable returns the lines behind the checksum, by name.
func readTable(t *testing.T) map[string][]string {
	t.Helper()
	lines := slices.Collect(strings.Lines(builtinTable))
	if len(lines) < 2 || strings.TrimSpace(lines[1]) != tableSum(lines[2:]) {
		t.Fatalf("%s was edited: run `make sweep`, which measures", sweepTable)
	}
	rows := map[string][]string{}
	for _, line := range lines[2:] {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		rows[fields[0]] = fields[1:]
	}
	return rows
}

var (
	sweepAll   = flag.String("sweep", "", "sweep the builtins of this pattern of path.Match, and write the table")
	sweepKeep  = flag.Bool("keep", false, "a sweep does not write the table, and fails where a class got worse")
	sweepCalls = flag.Int("calls", 0, "how many calls of each builtin a sweep makes, about; 0: all")
)

// TestSweep makes every call of every builtin, which takes an hour, and writes
// the table: `make sweep`. Without the flag it has nothing to do; see
// TestBuiltinTable.
func TestSweep(t *testing.T) {
	if *sweepAll == "" {
		return
	}
	rows := map[string]string{}
	for name, fields := range readTable(t) {
		if slices.Contains(sweptBuiltins(), name) {
			rows[name] = strings.Join(fields, "\t")
		}
	}
	for _, name := range uncallable() {
		rows[name] = string(classWithheld) + "\t"
	}
	factor := sweepFactor()
	for _, name := range sweptBuiltins() {
		if ok, err := filepath.Match(*sweepAll, name); err != nil || !ok {
			continue
		}
		start := time.Now()
		class, worst, err := classOf(name, sweep(t, name), factor)
		t.Logf("%s\t%s\t%s\t%v, %d MiB, %s\t(%v)", name, class, worst.Call, worst.Processor.Round(time.Millisecond), worst.Peak, worst.Outcome, time.Since(start).Round(time.Second))
		if err != nil {
			t.Error(err)
			delete(rows, name)
			continue
		}
		if row := rows[name]; *sweepKeep && class == classBeside && !strings.HasPrefix(row, string(class)) {
			t.Errorf("%s is %s now: %s takes %v", name, class, worst.Call, worst.Processor)
		}
		rows[name] = string(class) + "\t" + worst.Call
	}
	if !*sweepKeep {
		writeTable(t, rows)
	}
}

// TestBuiltinTable: each builtin that this OPA has was swept, and the table is
// what the sweep wrote. A builtin of a later OPA fails here until `make sweep`
// has found its class; until then the engine takes it for slow.
func TestBuiltinTable(t *testing.T) {
	rows := readTable(t)
	for _, name := range sweptBuiltins() {
		fields, ok := rows[name]
		if !ok {
			t.Errorf("%s is in no class: run `make sweep`", name)
			continue
		}
		class := builtinClass(fields[0])
		_, bounded := limits[name]
		if class != classBeside && (class == classBounded) != bounded {
			t.Errorf("%s is %s, with a limit: %v", name, class, bounded)
		}
		if slowBuiltin(name) != (class == classBeside) {
			t.Errorf("%s is %s, slow: %v", name, class, slowBuiltin(name))
		}
		delete(rows, name)
	}
	for _, name := range uncallable() {
		if fields := rows[name]; len(fields) == 0 || fields[0] != string(classWithheld) {
			t.Errorf("%s: %q, want withheld", name, fields)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s is no builtin", name)
	}
	for _, name := range []string{"a.builtin.of.tomorrow", ast.RenderTemplate.Name} {
		if !slowBuiltin(name) || !newBuiltins(nil).about(name).slow {
			t.Errorf("%s is not slow", name)
		}
	}
}

// TestWorstCalls makes the call of each builtin that took longest in the sweep,
// of a fourth of them on each day.
func TestWorstCalls(t *testing.T) {
	if raceDetector {
		return // it takes ten times as long, and no memory limit: `make unit` runs it without
	}
	factor := 4 * sweepFactor() // a busy machine
	for i, name := range sweptBuiltins() {
		if i%4 != time.Now().YearDay()%4 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fields := readTable(t)[name]
			if len(fields) < 2 {
				t.Fatal("not in the table")
			}
			calls := hostileCalls(sweepBuiltin(name))
			at := slices.IndexFunc(calls, func(c hostileCall) bool { return c.name == fields[1] })
			if at < 0 {
				t.Fatalf("no call %q: run `make sweep`", fields[1])
			}
			class, worst, err := classOf(name, sweepProcess(t, fmt.Sprintf("%s %d", name, at)), factor)
			if err != nil || class == classBeside && fields[0] != string(classBeside) {
				t.Errorf("%s, was %s: %s takes %v (%v)", class, fields[0], worst.Call, worst.Processor, err)
			}
		})
	}
}

// TestLimitsAreDocumented: the page lists each builtin with a limit, and no other.
func TestLimitsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy-reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Functions with limits\n")
	if !found {
		t.Fatal("no such section")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(section) {
		functions, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for i, name := range strings.Split(functions, "`") {
			if i%2 == 1 && strings.HasPrefix(line, "| ") {
				documented[name] = true
			}
		}
	}
	for name, fields := range readTable(t) {
		limited := fields[0] == string(classBounded) || fields[0] == string(classBeside)
		if limited != documented[name] {
			t.Errorf("%s is %s, documented: %v", name, fields[0], documented[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is no builtin", name)
	}
}
