//go:build interop

package interop

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/testkit"
	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// bodiesTime is how long the parsers are compared, and bodiesNumber which bodies
// they are given.
const (
	bodiesTime   = 20 * time.Second
	bodiesNumber = 1
)

// recordedBodies are the inputs of policy's FuzzBody: what once failed here is
// tried with each go test, and here again.
var recordedBodies = filepath.Join("..", "..", "pkg", "policy", "testdata", "fuzz", "FuzzBody")

// TestBodiesAsServersReadThem: whenever a parser of a real server reads a value
// of a guarded name that the policy does not see, the request is refused, or the
// policy sees that it does not know the body.
func TestBodiesAsServersReadThem(t *testing.T) {
	parsers := []*parser{startNode(t), startPython(t)}
	engine := bodyEngine(t)
	tried, shown, readings := 0, 0, map[string]int{}
	deadline := time.Now().Add(bodiesTime)
	for corpus := testkit.NewCorpus(bodiesNumber, recorded(t)...); time.Now().Before(deadline) && !t.Failed(); tried++ {
		body, seed := corpus.Next()
		parsed, known := seenBody(t, engine, body)
		if !known {
			continue
		}
		shown++
		if !seed {
			corpus.Keep(body)
		}
		list := testkit.GoReadings(body)
		for _, p := range parsers {
			list = append(list, p.read(t, body)...)
		}
		for _, r := range list {
			readings[r.Parser]++
			if unseen := testkit.Unseen(body, parsed, r); unseen != "" {
				t.Errorf("%s\n%s\n%q\nrecorded in %s", unseen, body.ContentType, body.Bytes, record(t, body))
			}
		}
	}
	t.Logf("%d bodies, of which a policy sees %d, as %v read them", tried, shown, readings)
	if shown < 200 || len(readings) < 15 && !t.Failed() {
		t.Errorf("%d bodies and %d parsers tell nothing", shown, len(readings))
	}
}

func bodyEngine(t *testing.T) *policy.Engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bodies.rego")
	text := `package bodies
decision := {"allowed": input.truncated_body == false, "dynamic_metadata": {"body": json.marshal(input.parsed_body)}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policy.Config{Entrypoint: "bodies/decision", Paths: []string{file}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// seenBody returns what a policy sees; known is false where it is refused, or
// null, as what is truncated or of a type that is not read.
func seenBody(t *testing.T, engine *policy.Engine, body testkit.Body) (parsed any, known bool) {
	t.Helper()
	d := engine.Decide(t.Context(), &policy.Input{Method: "POST", Host: "h", Body: policy.Body{
		ContentType: body.ContentType, ContentLength: strconv.Itoa(len(body.Bytes)), Bytes: body.Bytes,
	}})
	if !d.Allowed {
		if d.Reason != answers.InvalidRequest {
			t.Errorf("%s, %q: %s (%v)", body.ContentType, body.Bytes, d.Reason, d.Err)
		}
		return nil, false
	}
	text, _ := d.Metadata["body"].(string)
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return parsed, parsed != nil || strings.TrimSpace(string(body.Bytes)) == "null"
}

// recorded reads what Go's fuzzing keeps: a line of version, a string, bytes.
func recorded(t *testing.T) (list []testkit.Body) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordedBodies, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded bodies: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		var values []string
		for _, line := range lines[1:] {
			_, quoted, _ := strings.Cut(strings.TrimSuffix(line, ")"), "(")
			value, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			values = append(values, value)
		}
		if len(values) != 2 {
			t.Fatalf("%s has %d values", file, len(values))
		}
		list = append(list, testkit.Body{ContentType: values[0], Bytes: []byte(values[1])})
	}
	return list
}

// record writes a body where FuzzBody finds it.
func record(t *testing.T, body testkit.Body) (file string) {
	t.Helper()
	text := fmt.Sprintf("go test fuzz v1\nstring(%q)\n[]byte(%q)\n", body.ContentType, body.Bytes)
	file = filepath.Join(recordedBodies, fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:16])
	if err := os.MkdirAll(recordedBodies, 0o755); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Error(err)
	}
	return file
}

// parser is a process that reads bodies, a line for each, until its input ends.
type parser struct {
	in  *json.Encoder
	out *bufio.Scanner
}

func (p *parser) read(t *testing.T, body testkit.Body) (list []testkit.Reading) {
	t.Helper()
	if err := p.in.Encode(map[string]string{"type": body.ContentType, "body": base64.StdEncoding.EncodeToString(body.Bytes)}); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() {
		t.Fatalf("the parser ended at %s, %q: %v", body.ContentType, body.Bytes, p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &list); err != nil {
		t.Fatalf("%s: %v", p.out.Bytes(), err)
	}
	return list
}

func startParser(t *testing.T, cmd *exec.Cmd) *parser {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", cmd.Path, err, stderr.String())
		}
	})
	out := bufio.NewScanner(stdout)
	out.Buffer(nil, 1<<20)
	return &parser{in: json.NewEncoder(stdin), out: out}
}

func startNode(t *testing.T) *parser {
	t.Helper()
	const advice = "install Node.js 20.19 or later, with npm, and put both on PATH"
	node, npm := testkit.Tool(t, "node", advice), testkit.Tool(t, "npm", advice)
	dir := installed(t, "bodies", []string{"package.json", "package-lock.json", "parsers.mjs"}, func(dir string) {
		testkit.Run(t, dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	cmd := exec.Command(node, "parsers.mjs")
	cmd.Dir = dir
	return startParser(t, cmd)
}

// startPython needs cgi, which Python has until 3.12.
func startPython(t *testing.T) *parser {
	t.Helper()
	python := testkit.Tool(t, "python3", "install Python 3.11 or later, and put python3 on PATH")
	return startParser(t, exec.Command(python, "-W", "ignore", filepath.Join("bodies", "parsers.py")))
}
