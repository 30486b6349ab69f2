package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/jwtverify/internal/logtext"
)

// result is the outcome of one fetch.
type result struct {
	started     time.Time
	url, etag   string
	notModified bool // the set that the source has is still current
	body        []byte
	keys        []*jwtverify.Key
	problems    []error // why keys were left out
	lifetime    time.Duration
	hasLifetime bool // the answer gave one
	header      http.Header
	err         error
}

// fetch fetches a source once, within ctx. A panic becomes an error: a key set from
// outside must not end the process.
func (f *Fetcher) fetch(ctx context.Context, s *source) (r *result) {
	started := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r = &result{started: started, err: errors.New("reading the key set panicked")}
		}
	}()
	r = f.fetchKeys(ctx, s)
	r.started = started
	if ctx.Err() == context.DeadlineExceeded && r.err != nil {
		r.err = fmt.Errorf("no complete answer within %s: %w", f.cfg.Timeout, r.err)
	}
	return r
}

func (f *Fetcher) fetchKeys(ctx context.Context, s *source) *result {
	client, err := f.clientFor(&s.cfg)
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
	if old := s.snapshot.Load(); old != nil && old.url == r.url && !s.needBody.Load() {
		etag = old.etag
	}
	a, err := get(ctx, client, target, etag)
	if err != nil {
		return &result{err: err}
	}
	r.header = a.header
	r.lifetime, r.hasLifetime = lifetime(a.header)
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
// returns its jwks_uri. The document's issuer must be one of the configured ones (4.3):
// otherwise whoever can serve any document under the URL chooses the keys.
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

// answer is a successful answer, its body within the bound.
type answer struct {
	status int // 200, or 304 to a request with an ETag
	header http.Header
	body   []byte
}

// get sends one request. It does not check the content type: key servers send several,
// and the body is parsed strictly.
func get(ctx context.Context, client *http.Client, u *url.URL, etag string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("not a URL to request")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("Accept-Encoding", "identity") // a gzip bomb would pass the bound of the body
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

// withoutURL removes the URL from an error: its query may carry an access key.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Probe is the outcome of one fetch, for people who debug a key set.
type Probe struct {
	Keys        []*jwtverify.Key // usable ones
	Problems    []error          // why a source would leave keys out
	Duration    time.Duration    // of the whole fetch, discovery included
	ContentType string           // of the answer; "" where none came
	// Skew is how far the server's clock is ahead of ours by the answer's Date, in
	// whole seconds; the Age of an answer from a cache is accounted for. It means
	// something only with HasDate.
	Skew    time.Duration
	HasDate bool
	Err     error // why there are no keys
	// Stored are the keys that the Fetcher's store has of the source, StoredAt when the
	// issuer last confirmed them, and StoredUntil when they end.
	Stored                []*jwtverify.Key
	StoredAt, StoredUntil time.Time
}

// Probe fetches a key set once, with the limits and checks of every fetch, and applies
// it to nothing. It does not wait for other fetches, nor for a slot.
func (f *Fetcher) Probe(ctx context.Context, cfg RemoteConfig) *Probe {
	u, err := cfg.check()
	if err != nil {
		return &Probe{Err: fmt.Errorf("opening a remote key set: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	r := f.fetch(ctx, &source{fetcher: f, cfg: cfg, url: u, host: hostPort(u)})
	ended := time.Now()
	p := &Probe{Keys: r.keys, Problems: r.problems, Duration: ended.Sub(r.started), Err: r.err, ContentType: r.header.Get("Content-Type")}
	if p.Err == nil && len(p.Keys) == 0 {
		p.Err = errors.Join(append([]error{errNoKeys}, p.Problems...)...)
	}
	if store := f.cfg.Store; store != nil {
		if set := store.load(cfg.origin()); set != nil {
			p.Stored, _, _ = jwtverify.ParseKeySet(set.body) // none where it cannot be read
			p.StoredAt, p.StoredUntil = set.confirmed, set.confirmed.Add(cfg.MaxStale)
		}
	}
	if date, err := http.ParseTime(r.header.Get("Date")); err == nil {
		age, _ := strconv.Atoi(r.header.Get("Age")) // 0 where it is missing, or no number
		p.Skew, p.HasDate = date.Add(time.Duration(age)*time.Second).Sub(ended.Truncate(time.Second)), true
	}
	return p
}
