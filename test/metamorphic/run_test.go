package metamorphic

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ussoio/ussoauthz/test/oracle"
)

// runner gives scenarios to two services that differ in their caches alone, and
// compares all answers with the specification's.
type runner struct {
	services []*snapshots
	defect   defect // of the services, for tests of the runner
	fresh    bool   // nothing is remembered of the scenario before
	reasons  map[string]int
}

func newRunner(dirs ...string) *runner {
	r := &runner{reasons: map[string]int{}}
	for i, dir := range dirs {
		r.services = append(r.services, newSnapshots(dir, i == 0))
	}
	return r
}

// run returns the first difference, nil where there is none. Its error wraps
// errConfig where the services refuse a configuration.
func (r *runner) run(s *scenario) (*difference, error) {
	defer func() {
		for _, service := range r.services {
			service.close()
			service.close = func() {}
		}
	}()
	if r.fresh {
		for _, service := range r.services {
			clear(service.engines)
		}
	}
	var spec *oracle.Oracle
	for i, st := range s.Steps {
		now := s.Now.Add(st.After)
		for _, service := range r.services {
			service.clock.Store(now.Unix())
			service.kept.Clear()
			if st.Config == nil {
				continue
			}
			if err := service.load(r.defect.step(st)); err != nil {
				return nil, err
			}
		}
		if st.Config != nil {
			var err error
			if spec, err = specify(s, st); err != nil {
				return nil, err
			}
		}
		want := make([]oracle.Answer, len(st.Requests))
		for j, q := range st.Requests {
			want[j] = spec.Decide(q.oracle(), now)
			r.reasons[want[j].Reason]++
		}
		d, err := r.compare(st.Requests, want)
		if d != nil {
			d.step = i
		}
		if d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

func specify(s *scenario, st step) (*oracle.Oracle, error) {
	text, err := yamlText(st.Config)
	if err != nil {
		return nil, err
	}
	spec, err := oracle.New(text, st.Files, specified, s.Now.Add(st.After))
	if err != nil {
		return nil, fmt.Errorf("the specification does not understand what the service accepts: %w", err)
	}
	return spec, nil
}

// compare asks in order, backwards, and all at once: what a service remembers
// of one request must not show in the answer to another.
func (r *runner) compare(requests []request, want []oracle.Answer) (*difference, error) {
	ask := func(service *snapshots, how string, i int) (*difference, error) {
		got, err := r.defect.ask(service, requests[i])
		if err != nil {
			return nil, fmt.Errorf("request %d %s: %w", i, how, err)
		}
		if equal(got, want[i]) {
			return nil, nil
		}
		return &difference{request: i, how: how, want: want[i], got: got}, nil
	}
	for _, service := range r.services {
		how := "without caches"
		if service.caches {
			how = "with caches"
		}
		for i := range requests {
			if d, err := ask(service, how, i); d != nil || err != nil {
				return d, err
			}
		}
		if !service.caches {
			continue
		}
		for i := len(requests) - 1; i >= 0; i-- {
			if d, err := ask(service, "with caches, again", i); d != nil || err != nil {
				return d, err
			}
		}
		found, errs := make([]*difference, len(requests)), make([]error, len(requests))
		var asking sync.WaitGroup
		for i := range requests {
			asking.Go(func() { found[i], errs[i] = ask(service, "with caches, all at once", i) })
		}
		asking.Wait()
		if i := slices.IndexFunc(found, func(d *difference) bool { return d != nil }); i >= 0 || errors.Join(errs...) != nil {
			if i < 0 {
				return nil, errors.Join(errs...)
			}
			return found[i], nil
		}
	}
	return nil, nil
}

// defect is a mistake that the services are given, to see that it is found.
type defect struct {
	name     string
	want     string // the reason that the specification gives where it shows
	requests int    // that bring it out; 0: one
	tree     func(config map[string]any)
	alter    func(*request)
	key      func(request) string // of a cache of answers; nil: none
}

func (d defect) step(st step) step {
	if d.tree != nil {
		st.Config = cloneTree(st.Config).(map[string]any)
		d.tree(st.Config)
	}
	return st
}

// ask is service.ask with the mistake.
func (d defect) ask(service *snapshots, r request) (a oracle.Answer, err error) {
	if d.alter != nil {
		r.Headers = slices.Clone(r.Headers)
		d.alter(&r)
	}
	if d.key == nil || !service.caches {
		return service.ask(r)
	}
	name := d.key(r)
	if kept, found := service.kept.Load(name); found {
		return kept.(oracle.Answer), nil
	}
	if a, err = service.ask(r); err == nil {
		service.kept.Store(name, a)
	}
	return a, err
}
