// Package grpcbody reads the messages of gRPC requests as JSON, by the
// descriptor set of their services: what protoc --descriptor_set_out and
// buf build write.
package grpcbody

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	// maxSet bounds a descriptor set; those of a thousand services have a few
	// megabytes.
	maxSet = 64 << 20

	// maxDepth is what the C++ and Java libraries allow: the Go library would
	// follow a client ten thousand messages deep.
	maxDepth = 100

	// frameHeader is a flag and the length of the message behind it.
	frameHeader = 5
)

// Methods are the methods of a descriptor set. It is immutable and safe for
// concurrent use. A nil *Methods knows none.
type Methods struct {
	inputs map[string]protoreflect.MessageDescriptor // by "package.Service/Method"
	types  *dynamicpb.Types                          // for extensions and for what an Any holds
}

// Load reads a descriptor set from a file. Its errors leave the file's name to
// the caller.
func Load(file string) (*Methods, error) {
	raw, err := readBounded(file)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("is no descriptor set: write one with protoc --include_imports --descriptor_set_out=FILE, or with buf build -o FILE")
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("is no complete descriptor set (%w): protoc needs --include_imports", err)
	}
	m := &Methods{inputs: map[string]protoreflect.MessageDescriptor{}, types: dynamicpb.NewTypes(files)}
	services := 0
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			m.add(f.Services().Get(i))
			services++
		}
		return true
	})
	if services == 0 {
		return nil, errors.New("is a descriptor set without a service")
	}
	return m, nil
}

func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, unnamed(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no file") // opening a pipe would wait for its writer
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, unnamed(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, maxSet+1))
	if err != nil {
		return nil, unnamed(err)
	}
	if len(raw) > maxSet {
		return nil, fmt.Errorf("has more than %d MiB", maxSet>>20)
	}
	return raw, nil
}

func unnamed(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("can't be read: %w", err)
}

// add leaves out the methods whose client streams: their messages come when the
// request was answered already.
func (m *Methods) add(service protoreflect.ServiceDescriptor) {
	for i := range service.Methods().Len() {
		if method := service.Methods().Get(i); !method.IsStreamingClient() {
			m.inputs[string(service.FullName())+"/"+string(method.Name())] = method.Input()
		}
	}
}

// What a client may send wrongly. They and protobuf's own errors are its fault.
var (
	errCompressed = errors.New("the message is compressed")
	errFlag       = errors.New("the message's frame has an unknown flag")
	errFrame      = errors.New("the message's frame is cut")
	errMany       = errors.New("a second message follows the only one")
	errUnreadable = errors.New("the message can't be read")
)

// JSON reads the one message of a request to path, "package.Service/Method",
// and writes it as protobuf's JSON: names in camelCase, 64-bit numbers as
// text, fields without a value left out. nil without an error is a method that
// the set does not have, or whose client streams. truncated: the frame says
// that the message goes on.
//
// A compressed message is an error: nobody could judge it, and the upstream
// would read it. So is a second message, of which the upstream might take the
// last.
func (m *Methods) JSON(path string, body []byte) (text []byte, truncated bool, err error) {
	if m == nil {
		return nil, false, nil
	}
	input := m.inputs[path]
	if input == nil {
		return nil, false, nil
	}
	message, truncated, err := unframe(body)
	if err != nil || truncated {
		return nil, truncated, err
	}
	text, err = m.transcode(input, message)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", input.FullName(), err)
	}
	return text, false, nil
}

// transcode reads a message and writes it as JSON.
func (m *Methods) transcode(input protoreflect.MessageDescriptor, message []byte) (text []byte, err error) {
	// The attack: a map's entry whose second key has another wire type makes
	// protobuf's reflective decoder panic. Bytes of a client are its fault, and
	// no policy's.
	defer func() {
		if r := recover(); r != nil {
			text, err = nil, fmt.Errorf("%w: %v", errUnreadable, r)
		}
	}()
	v := dynamicpb.NewMessage(input)
	if err := (proto.UnmarshalOptions{Resolver: m.types, RecursionLimit: maxDepth}).Unmarshal(message, v); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{Resolver: m.types}.Marshal(v)
}

// unframe takes the message out of its frame (gRPC over HTTP/2,
// Length-Prefixed-Message).
func unframe(body []byte) (message []byte, truncated bool, err error) {
	if len(body) < frameHeader {
		return nil, false, errFrame
	}
	switch body[0] {
	case 0:
	case 1:
		return nil, false, errCompressed
	default:
		return nil, false, errFlag
	}
	size := uint64(binary.BigEndian.Uint32(body[1:frameHeader]))
	switch rest := uint64(len(body) - frameHeader); { // #nosec G115 -- body has a frame header, as tested above
	case size > rest:
		return nil, true, nil
	case size < rest:
		return nil, false, errMany
	}
	return body[frameHeader:], false, nil
}
