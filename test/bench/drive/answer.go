// Package drive sends load, over gRPC or through an HTTP proxy, and looks at
// every answer: a benchmark of wrong answers says nothing.
package drive

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of CheckResponse and google.rpc.Status.
const (
	fieldStatus   protowire.Number = 1
	fieldMetadata protowire.Number = 4
	fieldCode     protowire.Number = 1
)

var errAnswer = errors.New("this is no CheckResponse")

// Want is what every answer of a scenario must be.
type Want struct {
	Code   int    // of google.rpc.Status: 0 allows
	Reason string // in the dynamic metadata; "": not looked at
	Or     *Want  // the rarer of two answers; nil: there is one
}

// Check returns an error where the bytes of a CheckResponse say otherwise. It
// reads no more than it needs: the driver shares the machine with the servers.
func (w Want) Check(response []byte) error {
	code, metadata := 0, []byte(nil)
	for rest := response; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return errAnswer
		}
		size := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if size < 0 {
			return errAnswer
		}
		value := rest[n : n+size]
		rest = rest[n+size:]
		switch number {
		case fieldStatus:
			status, _ := protowire.ConsumeBytes(value)
			code = statusCode(status)
		case fieldMetadata:
			metadata, _ = protowire.ConsumeBytes(value)
		}
	}
	if w.Or != nil && code == w.Or.Code && code != w.Code {
		w = *w.Or
	}
	if code != w.Code {
		return fmt.Errorf("status code %d, want %d: %q", code, w.Code, response)
	}
	if w.Reason != "" && !bytes.Contains(metadata, reasonEntry(w.Reason)) {
		return fmt.Errorf("reason is not %s: %q", w.Reason, response)
	}
	return nil
}

func statusCode(status []byte) int {
	for len(status) > 0 {
		number, kind, n := protowire.ConsumeTag(status)
		if n < 0 {
			return -1
		}
		size := protowire.ConsumeFieldValue(number, kind, status[n:])
		if size < 0 {
			return -1
		}
		if number == fieldCode && kind == protowire.VarintType {
			code, _ := protowire.ConsumeVarint(status[n:])
			return int(code)
		}
		status = status[n+size:]
	}
	return 0
}

// reasonEntry is the entry {"reason": reason} of a google.protobuf.Struct.
func reasonEntry(reason string) []byte {
	value := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), reason)
	entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "reason")
	return protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), value)
}
