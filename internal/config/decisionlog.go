package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/ussoio/ussoauthz/pkg/jwtverify/jwks"
)

// decisionLog checks where decisions are written, and how much of them.
func (k *checker) decisionLog() {
	d := &k.c.DecisionLog
	if n := d.Buffer; n < 64*KiB || n > GiB {
		k.fail("decision_log.buffer", "is %v: write a size from 64KiB to 1GiB", n)
	}
	if !d.Enabled() && (d.Input || d.SampleAllows < 1 || len(d.Masks) > 0) {
		k.fail("decision_log", "is written nowhere: add console: true, file: or service:")
	}
	k.decisionFile(&d.File)
	k.decisionService(&d.Service)
	for i, m := range d.Masks {
		k.decisionMask(fmt.Sprintf("decision_log.masks[%d]", i), m)
	}
}

func (k *checker) decisionFile(f *DecisionFile) {
	if f.Path == "" {
		if d := Default().DecisionLog.File; *f != d {
			k.fail("decision_log.file.path", "is missing: write the file's name")
		}
		return
	}
	f.Path = k.c.resolve(f.Path)
	if info, err := os.Stat(filepath.Dir(f.Path)); err != nil {
		k.fail("decision_log.file.path", "%s is in a folder that %v", quoteShort(f.Path), plainError(err))
	} else if !info.IsDir() {
		k.fail("decision_log.file.path", "%s is in something that is no folder", quoteShort(f.Path))
	}
	if info, err := os.Stat(f.Path); err == nil && !info.Mode().IsRegular() {
		k.fail("decision_log.file.path", "%s is no regular file", quoteShort(f.Path))
	}
	if n := f.MaxSize; n < MiB || n > 1024*GiB {
		k.fail("decision_log.file.max_size", "is %v: write a size from 1MiB to 1024GiB", n)
	}
	if n := f.MaxFiles; n < 1 || n > 10000 {
		k.fail("decision_log.file.max_files", "is %d: write a number from 1 to 10000", n)
	}
	k.between("decision_log.file.max_age", f.MaxAge, 0, 10*365*24*time.Hour)
}

var partition = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func (k *checker) decisionService(s *DecisionService) {
	if s.URL == "" {
		if s.Partition != "" || !s.Token.IsZero() || s.Headers != nil || s.CAFile != "" {
			k.fail("decision_log.service.url", "is missing: write the URL of the service, without /logs")
		}
		return
	}
	// What is fit for keys is fit for decisions: TLS, or a host of this machine.
	switch {
	case jwks.CheckKeyURL(s.URL, true) != nil || strings.Contains(s.URL, "?"):
		k.fail("decision_log.service.url", "is no URL of a service: write https://host/path, without /logs, user, query and fragment")
	case jwks.CheckKeyURL(s.URL, s.AllowHTTP) != nil:
		k.fail("decision_log.service.url", "shows the decisions to everyone on the way: write https://, or set allow_http: true")
	}
	if s.Partition != "" && !partition.MatchString(s.Partition) {
		k.fail("decision_log.service.partition", "is %s: write letters, digits and . _ -", quoteShort(s.Partition))
	}
	if s.CAFile = k.c.resolve(s.CAFile); s.CAFile != "" {
		k.authorities("decision_log.service.ca_file", s.CAFile)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(s.Headers[name].Reveal()) {
			k.fail("decision_log.service.headers."+keyText(name), "is no header that can be sent")
		}
	}
	if !httpguts.ValidHeaderFieldValue(s.Token.Reveal()) {
		k.fail("decision_log.service.token", "holds what no header can carry")
	}
	k.between("decision_log.service.delay", s.Delay, 10*time.Millisecond, 10*time.Minute)
}

func (k *checker) decisionMask(field string, m DecisionMask) {
	k.oneOf(field+".op", m.Op, "remove", "upsert")
	if !strings.HasPrefix(m.Path, "/") {
		k.fail(field+".path", "is %s: write a JSON pointer, like /sub or /input/request/path", quoteShort(m.Path))
	}
	if m.Op == "upsert" && m.Value == nil {
		k.fail(field+".value", "is missing: an upsert needs one")
	}
	if m.Op == "remove" && m.Value != nil {
		k.fail(field+".value", "is of no use: a remove takes none")
	}
}
