// Package servers runs real web servers behind a real Envoy and the real
// service, and holds what they route against what was authorized. Its tests
// have build tags: interop for what the gate runs (make interop), servers for
// what takes Maven and Debian's Ruby and PHP (make servers).
package servers
