package metamorphic

import (
	"maps"
	"slices"
	"strings"
)

// shrink makes a scenario as small as it can while the same difference stays:
// the same reason is expected, and the same one is given.
func (r *runner) shrink(s *scenario, d *difference) *scenario {
	differs := func(c *scenario) *difference {
		found, err := r.run(c)
		if err != nil || found == nil || found.want.Reason != d.want.Reason || found.got.Reason != d.got.Reason {
			return nil
		}
		return found
	}
	small := s.clone()
	if differs(small) == nil {
		return s // only what the services remember of earlier scenarios brings it out
	}
	// One request is usually enough, and its own step.
	last := small.clone()
	last.Steps = last.Steps[:d.step+1]
	last.Steps[d.step].Requests = last.Steps[d.step].Requests[d.request : d.request+1]
	if differs(last) != nil {
		small = last
	}
	for changed, rounds := true, 0; changed && rounds < 10; rounds++ {
		changed = false
		for _, attempts := range []func(*scenario) []func() bool{stepAttempts, requestAttempts, treeAttempts, fileAttempts} {
			// An attempt changes what it was made for: each try needs a copy.
			for i := 0; ; {
				c := small.clone()
				list := attempts(c)
				if i >= len(list) {
					break
				}
				if list[i]() && differs(c) != nil {
					small, changed = c, true
					continue // the same place of what is left
				}
				i++
			}
		}
	}
	return small
}

// stepAttempts leave a step out; what comes after it starts with its configuration.
func stepAttempts(s *scenario) (list []func() bool) {
	for i := range s.Steps {
		list = append(list, func() bool {
			if len(s.Steps) == 1 {
				return false
			}
			if i+1 < len(s.Steps) && s.Steps[i+1].Config == nil {
				s.Steps[i+1].Config, s.Steps[i+1].Files = s.Steps[i].Config, s.Steps[i].Files
			}
			s.Steps = slices.Delete(s.Steps, i, i+1)
			return true
		}, func() bool {
			had := s.Steps[i].After
			s.Steps[i].After = 0
			return had != 0
		})
	}
	return list
}

func requestAttempts(s *scenario) (list []func() bool) {
	for i := range s.Steps {
		st := &s.Steps[i]
		for j := range st.Requests {
			q := &st.Requests[j]
			list = append(list, func() bool { st.Requests = slices.Delete(st.Requests, j, j+1); return true })
			for k := range q.Headers {
				list = append(list, func() bool { q.Headers = slices.Delete(q.Headers, k, k+1); return true })
			}
			for _, name := range slices.Sorted(maps.Keys(q.Extensions)) {
				list = append(list, func() bool { delete(q.Extensions, name); return true })
			}
			list = append(list, pathAttempts(q)...)
			list = append(list, func() bool { had := q.Method; q.Method = "GET"; return had != "GET" })
		}
	}
	return list
}

// pathAttempts leave out parts of the path and of the query.
func pathAttempts(q *request) (list []func() bool) {
	for _, separator := range []string{"?", "&", "/", ";"} {
		parts := strings.SplitAfter(q.Path, separator)
		for i := range parts {
			list = append(list, func() bool {
				shorter := strings.Join(slices.Delete(slices.Clone(parts), i, i+1), "")
				q.Path, shorter = shorter, q.Path
				return len(parts) > 1 && q.Path != shorter
			})
		}
	}
	return list
}

// treeAttempts leave out a key or an element of the configuration, from the top
// down: a whole tenant before its parts.
func treeAttempts(s *scenario) (list []func() bool) {
	for i := range s.Steps {
		if s.Steps[i].Config != nil {
			list = append(list, cuts(s.Steps[i].Config, func(any) {})...)
		}
	}
	return list
}

func cuts(node any, replace func(any)) (list []func() bool) {
	switch node := node.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			list = append(list, func() bool { delete(node, name); return true })
		}
		for _, name := range slices.Sorted(maps.Keys(node)) {
			list = append(list, cuts(node[name], func(v any) { node[name] = v })...)
		}
	case []any:
		for i := range node {
			list = append(list, func() bool { replace(slices.Delete(slices.Clone(node), i, i+1)); return len(node) > 1 })
		}
		for i := range node {
			list = append(list, cuts(node[i], func(v any) { node[i] = v })...)
		}
	}
	return list
}

// fileAttempts leave out a file, or a line of one.
func fileAttempts(s *scenario) (list []func() bool) {
	for i := range s.Steps {
		files := s.Steps[i].Files
		for _, name := range slices.Sorted(maps.Keys(files)) {
			list = append(list, func() bool { delete(files, name); return true })
			if !strings.HasSuffix(name, ".jsonl") {
				continue
			}
			lines := strings.Split(files[name], "\n")
			for k := range lines {
				list = append(list, func() bool {
					files[name] = strings.Join(slices.Delete(slices.Clone(lines), k, k+1), "\n")
					return len(lines) > 1
				})
			}
		}
	}
	return list
}
