package policy_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ussoio/ussoauthz/pkg/answers"
	"github.com/ussoio/ussoauthz/pkg/policy"
)

// TestBundleClientCertificate: a server that asks for one gets it, over TLS
// with a CA of its own.
func TestBundleClientCertificate(t *testing.T) {
	shelf := newShelf(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		s.StartTLS()
	})
	dir := t.TempDir()
	put := func(name, kind string, data []byte) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	// The server's own pair stands for a client's too.
	key, err := x509.MarshalPKCS8PrivateKey(shelf.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := put("cert.pem", "CERTIFICATE", shelf.TLS.Certificates[0].Certificate[0])
	client := section{"client_tls": section{"cert": certificate, "private_key": put("key.pem", "PRIVATE KEY", key)}}
	shelf.put("main", book{raw: allows("v1", true).pack(t, nil), etag: "1"})
	ca := section{"tls": section{"ca_cert": certificate}}

	without := read(t, with(shelf.sections("main"), "services/shelf", ca))
	without.untilError("main", "certificate required")
	without.Close()
	stranger := read(t, with(shelf.sections("main"), "services/shelf", section{"credentials": client}))
	stranger.untilError("main", "certificate signed by unknown authority")
	stranger.Close()
	r := read(t, with(with(shelf.sections("main"), "services/shelf", ca), "services/shelf", section{"credentials": client}))
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed)
}

// registry serves one image: a manifest with a bundle as its layer.
type registry struct {
	manifest []byte
	blobs    map[string][]byte
	token    string
}

func newRegistry(t *testing.T, bundle []byte) *registry {
	t.Helper()
	r := &registry{blobs: map[string][]byte{}, token: "cmVnaXN0cnk="} // "registry", as OPA encodes it
	add := func(kind string, data []byte) map[string]any {
		sum := sha256.Sum256(data)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		r.blobs[digest] = data
		return map[string]any{"mediaType": kind, "digest": digest, "size": len(data)}
	}
	var err error
	r.manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": add("application/vnd.oci.image.config.v1+json", []byte("{}")),
		"layers": []any{add("application/vnd.oci.image.layer.v1.tar+gzip", bundle)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, reference, isManifest := strings.Cut(req.URL.Path, "/manifests/")
	data, kind := r.blobs[req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]], "application/octet-stream"
	if isManifest {
		data, kind = r.manifest, "application/vnd.oci.image.manifest.v1+json"
		if reference != "v1" && !strings.HasPrefix(reference, "sha256:") {
			data = nil
		}
	}
	switch sum := sha256.Sum256(data); {
	case req.Header.Get("Authorization") != "Bearer "+r.token:
		w.WriteHeader(http.StatusUnauthorized)
	case data == nil:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Docker-Content-Digest", "sha256:"+hex.EncodeToString(sum[:]))
		_, _ = w.Write(data) // for HEAD too: net/http leaves it out
	}
}

// TestBundleFromRegistry: a signed bundle as an image of an OCI registry.
func TestBundleFromRegistry(t *testing.T) {
	key := newSigner(t)
	server := httptest.NewServer(newRegistry(t, allows("v1", true).pack(t, &key)))
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "http://") + "/policies/app"
	sections := section{
		"services": section{"registry": section{"url": server.URL, "type": "oci", "credentials": section{"bearer": section{"token": "registry"}}}},
		"keys":     section{"ci": section{"key": key.public, "algorithm": "ES256"}},
		"bundles": section{"main": section{
			"service": "registry", "resource": image + ":v1", "signing": section{"keyid": "ci"},
			"polling": section{"min_delay_seconds": 0, "max_delay_seconds": 1},
		}},
	}
	if faults := policy.CheckBundles(sections, "."); len(faults) != 1 || !strings.Contains(faults[0].Problem, "write persistence_directory") {
		t.Errorf("faults are %q", faults)
	}
	sections["persistence_directory"] = t.TempDir()
	r := read(t, sections)
	r.untilRevision("main", "v1")
	r.wants(answers.Allowed)
	r.Close()
	none := read(t, with(sections, "bundles/main", section{"resource": image + ":v2"}))
	none.untilError("main", "failed to pull")
	none.wants(answers.PolicyError)
}
