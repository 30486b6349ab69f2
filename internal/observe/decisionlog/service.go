package decisionlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/internal/config"
)

// service speaks OPA's decision log protocol: gzipped arrays of events, posted
// to the URL. A batch is sent until it is taken; meanwhile the pipe's buffer
// fills, and drops.
type service struct {
	cfg    config.DecisionService
	labels map[string]any
	client *http.Client
	url    string
	report func(error)      // of the pipe: an outage is told while it lasts
	pauses [2]time.Duration // the first pause after a failure, and the longest
}

// Bounds of a batch, before compression: OPA's services read bodies whole.
const (
	maxBatchBytes  = 512 << 10
	maxBatchEvents = 1000
)

func newService(cfg config.DecisionService, labels map[string]any) (*service, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: no certificate in %s", cfg.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{
		Transport: transport,
		Timeout:   10 * time.Second,
		// A redirect would take the records, and the token, somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &service{
		cfg: cfg, labels: labels, client: client,
		url:    strings.TrimSuffix(cfg.URL, "/") + path.Join("/logs", cfg.Partition),
		pauses: [2]time.Duration{100 * time.Millisecond, 30 * time.Second},
	}, nil
}

func (s *service) close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *service) write(ctx context.Context, chunk []byte, _ int) (lost int, err error) {
	var batch bytes.Buffer
	events := 0
	send := func() {
		if events == 0 {
			return
		}
		batch.WriteByte(']')
		if fault := s.deliver(ctx, batch.Bytes()); fault != nil {
			lost, err = lost+events, fault
		}
		batch.Reset()
		events = 0
	}
	eachLine(chunk, func(line []byte) {
		text, fault := s.event(line)
		if fault != nil {
			lost, err = lost+1, fault
			return
		}
		if batch.Len()+len(text) > maxBatchBytes || events == maxBatchEvents {
			send()
		}
		separator := byte(',')
		if events == 0 {
			separator = '['
		}
		batch.WriteByte(separator)
		batch.Write(text)
		events++
	})
	send()
	return lost, err
}

func (s *service) event(line []byte) ([]byte, error) {
	record, err := decode(line)
	if err != nil {
		return nil, err
	}
	return json.Marshal(event(record, s.labels))
}

// deliver posts a batch until it is taken, refused for what it is, or ctx ends.
func (s *service) deliver(ctx context.Context, batch []byte) error {
	body, err := compress(batch)
	if err != nil {
		return err
	}
	for pause := s.pauses[0]; ; pause = min(2*pause, s.pauses[1]) {
		err = s.post(ctx, body)
		if err == nil || errors.Is(err, errRefused) {
			return err
		}
		s.report(err)
		timer := time.NewTimer(pause/2 + rand.N(pause)) // #nosec G404 -- jitter, no secret
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

func compress(batch []byte) ([]byte, error) {
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	_, err := w.Write(batch)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compressing a batch: %w", err)
	}
	return body.Bytes(), nil
}

// errRefused: the service took exception to the batch itself, and would again.
var errRefused = errors.New("the service refuses the batch")

func (s *service) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range s.cfg.Headers {
		request.Header.Set(name, value.Reveal())
	}
	if !s.cfg.Token.IsZero() {
		request.Header.Set("Authorization", "Bearer "+s.cfg.Token.Reveal())
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection is used again
	_ = response.Body.Close()
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", errRefused, response.Status)
	default:
		return fmt.Errorf("the service answers %s", response.Status)
	}
}
