package tenants_test

import "testing"

// A regular file that can't be opened, or can't be read, is the file's problem.
func TestKeyFileUnreadable(t *testing.T) {
	for name, want := range map[string]string{
		"/proc/sys/vm/drop_caches": "permission denied", // of root too
		"/proc/self/mem":           "reading /proc/self/mem: ",
	} {
		c := base()
		withFile(name)(&c)
		expectFaults(t, c.Check(""), fault{"jwks_file", want})
	}
}
