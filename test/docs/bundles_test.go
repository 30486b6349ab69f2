package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/service"
)

// bundlesPage shows one folder: a policy, the commands that make its bundle, and
// the configuration that fetches it.
const bundlesPage = "bundles.md"

// TestBundlesPage builds and signs what the page shows, serves it, and opens
// the configuration.
func TestBundlesPage(t *testing.T) {
	dir := t.TempDir()
	public := keyPair(t, dir)
	var commands []string
	for _, b := range blocks(t) {
		if b.file != bundlesPage {
			continue
		}
		if b.lang == "console" {
			commands = append(commands, strings.Split(strings.TrimSpace(b.text), "\n")...)
			continue
		}
		first, _, _ := strings.Cut(b.text, "\n")
		name := filepath.Join(dir, strings.TrimPrefix(first, "# "))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range commands {
		command := strings.TrimPrefix(line, "$ ")
		switch words := strings.Fields(command); words[0] {
		case "cd":
			t.Chdir(filepath.Join(dir, words[1]))
		case "opa":
			opaSign(t, command)
		default:
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "served"))))
	defer server.Close()
	t.Setenv("BUNDLE_SERVER", server.URL)
	t.Setenv("BUNDLE_KEY", public)
	cfg, err := config.Load(filepath.Join(dir, "ussoauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("the page's configuration has warnings: %v", cfg.Warnings)
	}
	snapshot, err := service.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	if revision := snapshot.Policy.Revision(); !strings.HasPrefix(revision, "main@v1,") {
		t.Errorf("the revision is %q", revision)
	}
}

// keyPair writes the key that CI has, and returns the public one.
func keyPair(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	for name, data := range map[string][]byte{
		"ci.pem": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), "ci.pub": text,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return string(text)
}

// opaSign does what opa's command does, by the package that it is made of.
func opaSign(t *testing.T, command string) {
	t.Helper()
	if command != "opa sign --signing-key ../ci.pem --signing-alg ES256 --bundle ." {
		t.Fatalf("the page shows %q, which nobody checks", command)
	}
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var files []bundle.FileInfo
	for loader := bundle.NewDirectoryLoader("."); ; {
		file, err := loader.NextFile()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file.URL())
		if err != nil {
			t.Fatal(err)
		}
		var value any = text
		if bundle.IsStructuredDoc(file.URL()) {
			if err := util.Unmarshal(text, &value); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := hasher.HashFile(value)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, bundle.NewFile(file.URL(), hex.EncodeToString(sum), bundle.SHA256.String()))
	}
	token, err := bundle.GenerateSignedToken(files, bundle.NewSigningConfig("../ci.pem", "ES256", ""), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".signatures.json", []byte(`{"signatures": ["`+token+`"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
}
