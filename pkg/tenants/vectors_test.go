package tenants_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// vectors reads a file of attack vectors. An empty file is a failure: it would
// pass and prove nothing.
func vectors[T any](t testing.TB, name string) []T {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var list []T
	if err := decoder.Decode(&list); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no vectors", name)
	}
	return list
}
