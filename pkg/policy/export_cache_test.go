package policy

import (
	"slices"
	"strings"
)

// IsPlainAllow is for its test.
func (d *Decision) IsPlainAllow() bool { return d.isPlainAllow() }

// Uncached is the engine without its cache.
func (e *Engine) Uncached() *Engine {
	c := *e
	c.cache = nil
	return &c
}

// Whole is the engine as it would be without an analysis: no cache, and every
// member in the input. A body that is not read is not parsed, and so not refused.
func (e *Engine) Whole() *Engine {
	c := e.Uncached()
	read := map[string]bool{}
	for _, o := range e.reads.objects {
		for _, l := range o.leaves {
			read[l.name] = true
		}
	}
	c.reads = newReads(func(l *leaf) ([]pick, bool) { return nil, read[l.name] || !l.hidden && !l.costly })
	return c
}

// Forget is the engine as it would be if the analysis had not seen one of the
// paths. Names with a dot are not for it.
func (e *Engine) Forget(path string, cacheBytes int64) *Engine {
	c := e.Uncached()
	var steps [][]string
	for _, read := range slices.DeleteFunc(slices.Clone(e.analysis.Reads), func(r string) bool { return r == path }) {
		steps = append(steps, strings.Split(strings.TrimPrefix(read, "input."), "."))
	}
	c.reads = chosenBy(steps)
	c.cache = newDecisionCache(cacheBytes)
	return c
}
