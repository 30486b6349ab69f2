package config

import (
	"os"
	"path/filepath"

	"github.com/ussoio/ussoauthz/internal/revocation"
)

// Revocation says where tokens are written that are refused before they expire.
// The zero value is off but for OnUnavailable.
type Revocation struct {
	File          string           `yaml:"file"` // JSON lines; joined with Config.Dir
	Redis         revocation.Redis `yaml:"redis"`
	OnUnavailable string           `yaml:"on_unavailable"` // keep what is known, or deny
}

// Enabled reports whether any token can be revoked.
func (r Revocation) Enabled() bool { return r.File != "" || r.Redis.Enabled() }

// Deny reports whether tokens are refused while nobody knows what is revoked.
func (r Revocation) Deny() bool { return r.OnUnavailable == "deny" }

func (k *checker) revocation() {
	r := &k.c.Revocation
	k.oneOf("revocation.on_unavailable", r.OnUnavailable, "keep", "deny")
	if *r == (Revocation{OnUnavailable: "deny"}) {
		k.fail("revocation", "comes from nowhere: add file: or redis:")
	}
	for _, f := range r.Redis.Check(k.c.Dir) {
		k.fail("revocation.redis."+f.Field, "%s", f.Problem)
	}
	if r.File != "" {
		k.revocationFile(r)
	}
}

// revocationFile checks where the file is or will be: one that is not there yet
// is unavailable, and no fault. The first revocation makes it.
func (k *checker) revocationFile(r *Revocation) {
	r.File = k.c.resolve(r.File)
	if info, err := os.Stat(filepath.Dir(r.File)); err != nil {
		k.fail("revocation.file", "%s is in a folder that %v", quoteShort(r.File), plainError(err))
	} else if !info.IsDir() {
		k.fail("revocation.file", "%s is in something that is no folder", quoteShort(r.File))
	}
	if info, err := os.Stat(r.File); err == nil && !info.Mode().IsRegular() {
		k.fail("revocation.file", "%s is no regular file", quoteShort(r.File))
	}
}
