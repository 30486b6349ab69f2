package decisionlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// Record is a line of the decision log, as it is read.
type Record struct {
	Time           time.Time        `json:"time"` // when the check had arrived
	DecisionID     string           `json:"decision_id"`
	TraceID        string           `json:"trace_id,omitempty"`
	Tenant         string           `json:"tenant,omitempty"`
	Subject        string           `json:"sub,omitempty"`
	WorkspaceID    string           `json:"workspace_id,omitempty"`
	Method         string           `json:"method,omitempty"` // this and the next two as sent
	Host           string           `json:"host,omitempty"`
	Path           string           `json:"path,omitempty"` // without the query
	Route          string           `json:"route,omitempty"`
	Allowed        bool             `json:"allowed"`
	Reason         string           `json:"reason"`
	Status         int              `json:"status"`
	Error          string           `json:"error,omitempty"` // why, in words; the client was not told
	TookNS         int64            `json:"took_ns"`
	StagesNS       map[string]int64 `json:"stages_ns"`
	TokenCache     string           `json:"token_cache,omitempty"` // hit or miss
	DecisionCache  string           `json:"decision_cache,omitempty"`
	PolicyRevision string           `json:"policy_revision,omitempty"`

	// Input is what the policy saw, without the headers that carry credentials.
	// nil: decision_log.input is off, or the policy was not asked.
	Input        json.RawMessage `json:"input,omitempty"`
	InputOmitted bool            `json:"input_omitted,omitempty"` // it was too large, or could not be made
	Erased       []string        `json:"erased,omitempty"`        // JSON pointers that a mask removed
	Masked       []string        `json:"masked,omitempty"`        // and those that it replaced
}

// ErrNotFound: a file holds no record with the id.
var ErrNotFound = errors.New("no such decision")

// Find returns the record of a decision from a file of the decision log. Lines
// that are no records, of which a full disk leaves some, are passed over. The
// error is ErrNotFound, or says what is wrong with the file.
func Find(file, id string) (*Record, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening the decision log: %w", err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	for scanner.Scan() {
		if !bytes.Contains(scanner.Bytes(), []byte(id)) {
			continue
		}
		var r Record
		if json.Unmarshal(scanner.Bytes(), &r) == nil && r.DecisionID == id {
			return &r, nil
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s is no decision log: it has a line of more than %d MiB", file, maxLine>>20)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading the decision log: %w", err)
	}
	return nil, fmt.Errorf("%w in %s: %q", ErrNotFound, file, id)
}
