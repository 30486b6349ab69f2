package grpcbody_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/google/go-cmp/cmp"

	"github.com/ussoio/ussoauthz/internal/testkit/prototest"
	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
)

const source = `
syntax = "proto3";
package shop.v1;

import "google/protobuf/any.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";

service Posts {
  rpc Create(Post) returns (Post);
  rpc Watch(Post) returns (stream Post);
  rpc Upload(stream Post) returns (Post);
}

enum Kind { KIND_UNSPECIFIED = 0; NEWS = 1; }

message Post {
  string title = 1;
  int64 view_count = 2;
  double rating = 3;
  bytes image = 4;
  Kind kind = 5;
  map<string, int32> word_counts = 6;
  repeated string labels = 7;
  Post parent = 8;
  google.protobuf.Any extra = 9;
  google.protobuf.Struct form = 10;
  google.protobuf.Timestamp created_at = 11;
  oneof place { string shelf = 12; bool drawer = 13; }
}`

func load(t testing.TB) (*grpcbody.Methods, protoreflect.MessageDescriptor) {
	t.Helper()
	file := prototest.Compile(t, source)
	methods, err := grpcbody.Load(prototest.Write(t, prototest.Set(file)))
	if err != nil {
		t.Fatal(err)
	}
	return methods, file.Messages().ByName("Post")
}

// frame writes a message as gRPC does.
func frame(flag byte, message []byte) []byte {
	header := binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))
	return append(header, message...)
}

func message(t testing.TB, post protoreflect.MessageDescriptor, text string) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(post)
	files, err := protodesc.NewFiles(prototest.Set(post.ParentFile()))
	if err != nil {
		t.Fatal(err)
	}
	if err := (protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(files)}).Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMessages(t *testing.T) {
	methods, post := load(t)
	for name, want := range map[string]string{
		"nothing set": `{}`,
		"every kind of field": `{"title": "é", "viewCount": "9007199254740993", "rating": 1.5, "image": "/w==", "kind": "NEWS",
			"wordCounts": {"a": 1}, "labels": ["x", "y"], "parent": {"title": "p"}, "form": {"a": [1, null]},
			"createdAt": "2026-01-02T03:04:05Z", "drawer": true}`,
		"no finite number":  `{"rating": "NaN"}`,
		"what an Any holds": `{"extra": {"@type": "type.googleapis.com/shop.v1.Post", "title": "inside"}}`,
	} {
		for _, path := range []string{"shop.v1.Posts/Create", "shop.v1.Posts/Watch"} {
			text, truncated, err := methods.JSON(path, frame(0, message(t, post, want)))
			if err != nil || truncated {
				t.Fatalf("%s: truncated %v, %v", name, truncated, err)
			}
			if diff := cmp.Diff(decode(t, want), decode(t, string(text))); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func decode(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestMethodsThatAreNotRead(t *testing.T) {
	methods, _ := load(t)
	for _, path := range []string{"", "Create", "shop.v1.Posts", "shop.v1.Posts/", "shop.v1.Posts/create", "Posts/Create", "shop.v1.Post/Create",
		"shop.v1.Posts/Create/", "/shop.v1.Posts/Create", "shop.v1.Posts/Upload"} {
		if text, truncated, err := methods.JSON(path, []byte{9}); text != nil || truncated || err != nil {
			t.Errorf("%s: %s %v %v", path, text, truncated, err)
		}
	}
	if text, _, err := (*grpcbody.Methods)(nil).JSON("shop.v1.Posts/Create", frame(0, nil)); text != nil || err != nil {
		t.Errorf("no set at all: %s %v", text, err)
	}
}

// nested makes messages in messages: field 8 of each holds the next.
func nested(levels int) []byte {
	var m []byte
	for range levels {
		m = protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), m)
	}
	return m
}

func TestBrokenMessages(t *testing.T) {
	methods, post := load(t)
	good := frame(0, message(t, post, `{"title": "a"}`))
	entry := func(bytes ...byte) []byte { // one of word_counts
		return frame(0, protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), bytes))
	}
	anyOfStranger := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "type.googleapis.com/shop.v1.Nothing")
	for _, tt := range []struct {
		name      string
		body      []byte
		text      string
		truncated bool
		err       string
	}{
		{name: "no frame", body: []byte{0, 0, 0, 0}, err: "frame is cut"},
		{name: "compressed", body: frame(1, nil), err: "compressed"},
		{name: "another flag", body: frame(0x80, nil), err: "unknown flag"},
		{name: "base64", body: []byte("AAAAAAA="), err: "unknown flag"},
		{name: "cut", body: good[:len(good)-1], truncated: true},
		{name: "four gigabytes promised", body: []byte{0, 0xff, 0xff, 0xff, 0xff, 1}, truncated: true},
		{name: "a second message", body: append(bytes.Clone(good), good...), err: "second message"},
		{name: "a byte more", body: append(bytes.Clone(good), 0), err: "second message"},
		{name: "no protobuf", body: frame(0, []byte{0xff}), err: "shop.v1.Post: proto"},
		{name: "a field of another type is an unknown one", body: frame(0, []byte{1 << 3, 1}), text: `{}`},
		{name: "the last of two wins, as upstream", body: frame(0, []byte{1<<3 | 2, 1, 'a', 1<<3 | 2, 1, 'b'}), text: `{"title": "b"}`},
		{name: "text that is no UTF-8", body: frame(0, []byte{1<<3 | 2, 1, 0xff}), err: "UTF-8"},
		{name: "as deep as others read", body: frame(0, nested(1)), text: `{"parent": {}}`},
		{name: "deeper", body: frame(0, nested(101)), err: "recursion"},
		{name: "ten thousand deep", body: frame(0, nested(10000)), err: "recursion"},
		{name: "an Any of a type that nobody knows", body: frame(0, protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), anyOfStranger)), err: "Any"},
		{name: "an entry's second key of another type", body: entry(1<<3|2, 1, 'a', 1<<3, 1), err: "can't be read"},
		{name: "an entry's only key of another type", body: entry(1<<3, 1), text: `{"wordCounts": {"": 0}}`},
		{name: "a time that is none", body: frame(0, []byte{11<<3 | 2, 6, 2 << 3, 0xff, 0xff, 0xff, 0xff, 0x7f}), err: "Timestamp"},
	} {
		text, truncated, err := methods.JSON("shop.v1.Posts/Create", tt.body)
		if truncated != tt.truncated || (text != nil) != (tt.text != "") || (err != nil) != (tt.err != "") {
			t.Errorf("%s: %s, truncated %v, %v", tt.name, text, truncated, err)
			continue
		}
		if err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
		if text != nil && !cmp.Equal(decode(t, string(text)), decode(t, tt.text)) {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.text)
		}
	}
	if _, _, err := methods.JSON("shop.v1.Posts/Create", frame(0, nested(90))); err != nil {
		t.Errorf("90 levels: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := prototest.Set(prototest.Compile(t, source))
	alone := &descriptorpb.FileDescriptorSet{File: whole.File[len(whole.File)-1:]}
	types := prototest.Set(prototest.Compile(t, `syntax = "proto3"; message A {}`))
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 65<<20); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):         "can't be read: no such file",
		dir:                                "is no file",
		os.DevNull:                         "is no file",
		large:                              "more than 64 MiB",
		write("empty", ""):                 "without a service",
		write("source.proto", source):      "is no descriptor set",
		prototest.Write(t, types):          "without a service",
		prototest.Write(t, alone):          `could not resolve import "google/protobuf/any.proto"`,
		write("code.json", `{"file": []}`): "is no descriptor set",
	} {
		methods, err := grpcbody.Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), dir) || methods != nil {
			t.Errorf("%s: %v, want %q and no path", path, err, want)
		}
	}
}

// FuzzMessages: no bytes of a client make it panic, and what it gives is JSON.
func FuzzMessages(f *testing.F) {
	methods, post := load(f)
	f.Add(frame(0, message(f, post, `{"title": "a", "parent": {"labels": ["b"]}, "wordCounts": {"a": 1}, "form": {"a": [1]}}`)))
	f.Add(frame(0, nested(50)))
	f.Add([]byte("\x00\x00\x00\x00%R \n\x12\n\x00\r000000100000000000000000000000")) // a key of two wire types
	f.Fuzz(func(t *testing.T, body []byte) {
		text, truncated, err := methods.JSON("shop.v1.Posts/Create", body)
		if text != nil && (truncated || err != nil || !json.Valid(text)) {
			t.Errorf("%s, truncated %v, %v", text, truncated, err)
		}
	})
}
