package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/policy"
)

// mask returns the lines of a chunk with the masks of the configuration and of
// the policy applied. A line that can't be masked is lost rather than written:
// nobody knows what it shows.
func (l *Log) mask(chunk []byte) (masked []byte, lost int, fault error) {
	engine := l.policy.Load()
	if len(l.masks) == 0 && (engine == nil || !engine.HasMask()) {
		return chunk, 0, nil
	}
	masked = make([]byte, 0, len(chunk))
	eachLine(chunk, func(line []byte) {
		text, err := l.maskLine(line, engine)
		if err != nil {
			lost, fault = lost+1, fmt.Errorf("masking a record: %w", err)
			return
		}
		masked = append(append(masked, text...), '\n')
	})
	return masked, lost, fault
}

func (l *Log) maskLine(line []byte, engine *policy.Engine) ([]byte, error) {
	record, err := decode(line)
	if err != nil {
		return nil, err
	}
	masks := l.masks
	if engine != nil && engine.HasMask() {
		if !policy.Maskable(record["input"]) { // the rest of the record stays
			delete(record, "input")
			record["input_omitted"] = true
		}
		more, err := engine.Mask(context.Background(), event(record, l.labels))
		if err != nil {
			return nil, err
		}
		masks = slices.Concat(masks, more)
	}
	for _, m := range masks {
		if err := apply(record, m); err != nil {
			return nil, err
		}
	}
	return json.Marshal(record)
}

func decode(line []byte) (record map[string]any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&record); err != nil {
		return nil, fmt.Errorf("reading a record: %w", err)
	}
	return record, nil
}

// apply changes what a mask points at. A path that leads nowhere is nothing to
// hide. The record tells what was done, as OPA's events do.
func apply(record map[string]any, m policy.Mask) error {
	path, ok := strings.CutPrefix(m.Path, "/")
	if !ok {
		return fmt.Errorf("the path %q of a mask does not begin with a slash", m.Path)
	}
	// An event has our own members under result: what a policy calls
	// /result/sub is /sub here.
	path = strings.TrimPrefix(path, "result/")
	note := "erased"
	switch m.Op {
	case "remove":
	case "upsert":
		note = "masked"
	default:
		return fmt.Errorf("the operation %q of a mask is neither remove nor upsert", m.Op)
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = unescapePointer.Replace(part)
	}
	m.Value = clone(m.Value)
	if _, changed := change(record, parts, m); changed {
		list, _ := record[note].([]any)
		record[note] = append(list, m.Path)
	}
	return nil
}

// clone keeps a later mask of one record from changing what all records get.
func clone(value any) any {
	switch v := value.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for name, member := range v {
			c[name] = clone(member)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, item := range v {
			c[i] = clone(item)
		}
		return c
	}
	return value
}

// unescapePointer is RFC 6901 section 4.
var unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")

// change returns node with the mask applied at parts below it.
func change(node any, parts []string, m policy.Mask) (_ any, changed bool) {
	switch n := node.(type) {
	case map[string]any:
		return n, changeMember(n, parts, m)
	case []any:
		i, err := strconv.Atoi(parts[0])
		if err != nil || i < 0 || i >= len(n) {
			return n, false
		}
		switch {
		case len(parts) > 1:
			n[i], changed = change(n[i], parts[1:], m)
			return n, changed
		case m.Op == "remove":
			return slices.Delete(n, i, i+1), true
		}
		n[i] = m.Value
		return n, true
	}
	return node, false
}

func changeMember(object map[string]any, parts []string, m policy.Mask) (changed bool) {
	child, found := object[parts[0]]
	switch {
	case len(parts) == 1 && m.Op == "remove":
		delete(object, parts[0])
		return found
	case len(parts) == 1:
		object[parts[0]] = m.Value
		return true
	case !found && m.Op == "remove":
		return false
	case !found: // as OPA does
		child = map[string]any{}
	}
	object[parts[0]], changed = change(child, parts[1:], m)
	return changed
}
