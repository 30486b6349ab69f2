package tour

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Recorder stands before the application and keeps what each step's request
// looked like when it arrived. It is safe for concurrent use.
type Recorder struct {
	mu   sync.Mutex
	seen map[string]http.Header
}

// Wrap records the requests of h.
func (r *Recorder) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if step := req.Header.Get(StepHeader); step != "" {
			r.mu.Lock()
			if r.seen == nil {
				r.seen = map[string]http.Header{}
			}
			r.seen[step] = req.Header.Clone()
			r.mu.Unlock()
		}
		h.ServeHTTP(w, req)
	})
}

// Take returns the headers of step n's request as the application got them,
// nil where it got none, and forgets them.
func (r *Recorder) Take(n int) http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strconv.Itoa(n)
	seen := r.seen[key]
	delete(r.seen, key)
	return seen
}

// Reason is the reason that an answer's body gives, "allowed" where the
// request reached the application, and "envoy" where Envoy answered by itself.
func (a Answer) Reason() string {
	if a.Seen != nil {
		return "allowed"
	}
	var body struct{ Error, Detail, Reason string }
	if json.Unmarshal([]byte(a.Body), &body) != nil || body.Reason == "" {
		return "envoy"
	}
	return body.Reason
}

// Check compares an answer with what the step must get.
func (s Step) Check(a Answer) error {
	var errs []error
	if a.Status != s.Status {
		errs = append(errs, fmt.Errorf("status %d, want %d", a.Status, s.Status))
	}
	want := s.Reason
	if want == "" {
		want = "allowed"
	}
	if got := a.Reason(); got != want {
		errs = append(errs, fmt.Errorf("reason %s, want %s (body %q)", got, want, a.Body))
	}
	if s.Reason != "" {
		return errors.Join(errs...)
	}
	for _, name := range IdentityHeaders {
		if got := strings.Join(a.Seen.Values(name), "|"); got != s.Identity[name] {
			errs = append(errs, fmt.Errorf("the application got %s %q, want %q", name, got, s.Identity[name]))
		}
	}
	return errors.Join(errs...)
}

// Identity lists the identity headers that reached the application.
func (a Answer) Identity() []string {
	var list []string
	for _, name := range IdentityHeaders {
		for _, value := range a.Seen.Values(name) {
			list = append(list, name+": "+value)
		}
	}
	return list
}
