// Package decisiontest runs decision tests: YAML cases that state a request,
// with the claims of its token, and the answer that it must get. They take the
// whole pipeline of a request with a given configuration; only the tenants' keys
// are replaced, by keys that are minted for the run.
package decisiontest

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// Suite is one file of cases.
type Suite struct {
	File  string
	Cases []Case
}

// Case is one request and the answer that it must get.
type Case struct {
	Name     string
	Line     int
	Request  Request
	Token    Token
	InCookie bool   // the token travels in the tenant's cookie, not in its header
	SignedBy string // the tenant whose keys sign it; "": the one that the request selects
	Expect   Expect
}

// Request is a request as Envoy would show it.
type Request struct {
	Method, Host, Path string
	Headers            []Header
	Extensions         map[string]string
	Body               string
}

// Header is one line.
type Header struct{ Name, Value string }

// Token says which token a request carries.
type Token struct {
	Kind   Kind
	Claims map[string]any // of Kind Claims; nil values are left out of the token
}

// Kind is a word for a token.
type Kind string

// The kinds of tokens. All but None and Claims are of a usual user, with one
// thing wrong.
const (
	None          Kind = "none"
	Claims        Kind = "claims"
	Expired       Kind = "expired"
	WrongAudience Kind = "wrong_audience"
	WrongIssuer   Kind = "wrong_issuer"
	Forged        Kind = "forged" // with the right key id, but by another key
)

func words() []Kind { return []Kind{None, Expired, WrongAudience, WrongIssuer, Forged} }

// Expect is what is looked at in the answer; a nil field is not.
type Expect struct {
	Status   *int // 200: allowed
	Reason   *string
	Detail   *string            // of the denial's JSON body
	Body     *string            // of the denial, whole
	Upstream map[string]*string // headers that the application gets; nil: must not arrive
	Removed  []string           // request headers that Envoy is told to remove
	Response map[string]*string // headers of the answer to the client; nil: must not be there
}

// Find returns the files of decision tests in paths, in the order of the paths
// and of their names. Ignored and hidden files are left out as they are for
// Rego tests.
func Find(paths []string, ignored func(name string) bool) ([]string, error) {
	var files []string
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return fmt.Errorf("looking for decision tests: %w", err)
			}
			switch {
			case ignored(name) && entry.IsDir():
				return fs.SkipDir
			case !entry.IsDir() && policy.IsDecisionFile(entry.Name()) && !ignored(name) && !slices.Contains(files, name):
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
