package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// result is what one fetch brought.
type result struct {
	begun       time.Time
	url, etag   string
	notModified bool   // the set that the source has is still the right one
	body        []byte // of the set; nil: not modified
	keys        []*jwtverify.Key
	problems    []error // keys that were left out
	lifetime    time.Duration
	said        bool // the answer has a lifetime
	header      http.Header
	err         error
}

// fetch does one fetch of a source within ctx. It never panics: a key set from
// outside must not end the process.
func (f *Fetcher) fetch(ctx context.Context, s *source) (r *result) {
	begun := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r = &result{begun: begun, err: errors.New("reading the key set panicked")}
		}
	}()
	r = f.fetchKeys(ctx, s)
	r.begun = begun
	if ctx.Err() == context.DeadlineExceeded && r.err != nil {
		r.err = fmt.Errorf("no complete answer within %s: %w", f.cfg.Timeout, r.err)
	}
	return r
}

func (f *Fetcher) fetchKeys(ctx context.Context, s *source) *result {
	client, err := f.withFiles(&s.cfg)
	if err != nil {
		return &result{err: err}
	}
	target := s.url
	if s.cfg.Discovery {
		if target, err = f.discover(ctx, client, s); err != nil {
			return &result{err: fmt.Errorf("discovery: %w", err)}
		}
	}
	r := &result{url: target.String()}
	etag := ""
	if old := s.snapshot.Load(); old != nil && old.url == r.url && !s.whole.Load() {
		etag = old.etag
	}
	a, err := get(ctx, client, target, etag)
	if err != nil {
		return &result{err: err}
	}
	r.header = a.header
	r.lifetime, r.said = lifetime(a.header)
	if a.status == http.StatusNotModified {
		r.notModified = true
		return r
	}
	if tag := a.header.Get("ETag"); len(tag) <= maxETagBytes {
		r.etag = tag
	}
	r.body = a.body
	r.keys, r.problems, r.err = jwtverify.ParseKeySet(a.body)
	return r
}

// discover reads an openid-configuration (OpenID Connect Discovery 1.0, 3) and
// returns its jwks_uri. The issuer must be one that is expected (4.3): else
// whoever can serve any document under the URL names the keys.
func (f *Fetcher) discover(ctx context.Context, client *http.Client, s *source) (*url.URL, error) {
	a, err := get(ctx, client, s.url, "")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if jsontext.Value(a.body).Kind() != '{' {
		return nil, errors.New("the document is not a JSON object")
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, fmt.Errorf("the document is not strict JSON: %s", logtext.JSONError(err))
	}
	if !slices.Contains(s.cfg.Issuers, doc.Issuer) {
		return nil, fmt.Errorf("the document is of issuer %s, which is not the configured one", logtext.Quote(doc.Issuer))
	}
	u, err := parseKeyURL(doc.JWKSURI, s.cfg.AllowHTTP)
	if err != nil {
		return nil, fmt.Errorf("jwks_uri of the document: %w", err)
	}
	// A document from elsewhere must not point at this machine's own services.
	if IsLoopbackHost(u.Hostname()) && !IsLoopbackHost(s.url.Hostname()) {
		return nil, errors.New("jwks_uri of the document is a loopback address: refused")
	}
	return u, nil
}

// answer is a good answer, its body within the bound.
type answer struct {
	status int // 200, or 304 to a request with an ETag
	header http.Header
	body   []byte
}

// get does one request. The content type is not looked at: key servers are
// found with several, and the body is parsed strictly.
func get(ctx context.Context, client *http.Client, u *url.URL, etag string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("not a URL to request")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("Accept-Encoding", "identity") // no gzip bombs
	req.Header.Set("User-Agent", "ussoauthz")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("requesting keys: %w", withoutURL(err))
	}
	defer resp.Body.Close() // unread bodies end with their connection
	switch {
	case resp.StatusCode == http.StatusNotModified && etag != "":
		return &answer{status: resp.StatusCode, header: resp.Header}, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("server answered with status %d", resp.StatusCode)
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, fmt.Errorf("server answered with the content coding %s, though none was accepted", logtext.Quote(coding))
	}
	body, err := readBounded(resp)
	if err != nil {
		return nil, err
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

func readBounded(resp *http.Response) ([]byte, error) {
	tooLong := fmt.Errorf("answer of more than %d bytes", jwtverify.MaxKeySetBytes)
	if resp.ContentLength > jwtverify.MaxKeySetBytes {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, jwtverify.MaxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > jwtverify.MaxKeySetBytes {
		return nil, tooLong
	}
	return body, nil
}

// withoutURL takes the URL out of an error: its query may carry an access key.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
