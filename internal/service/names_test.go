package service_test

import (
	"strings"
	"testing"
)

// TestNamesOfTheConfiguration: how many names a query may have is the policy's,
// and a reload changes it.
func TestNamesOfTheConfiguration(t *testing.T) {
	r := startReloading(t)
	r.put(t, "policies/names.rego", "package names\ndecision if count(input.request.query) > 0")
	names := func(most, sent, want string) {
		t.Helper()
		r.configure(t, "policy: {paths: [policies/], entrypoint: names/decision}\nlimits: {max_query_names: "+most+"}")
		var got string
		var err error
		eventually(t, func() bool {
			got, err = sendCheck(r.conn, asked("acme.example", "/?"+sent, r.token))
			return err == nil && got == want
		}, func() string { return got })
	}
	names("2", "a&b&a", "allowed")
	names("2", "a&b&c", "invalid_request")
	names("3", "a&b&c", "allowed")
	if log := r.log.String(); strings.Contains(log, "key=limits") {
		t.Errorf("log:\n%s", log)
	}
}
