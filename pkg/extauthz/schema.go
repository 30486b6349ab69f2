package extauthz

import (
	"fmt"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schema is a message type as the reader sees it: its fields by number. Only
// those with bytes are in it. Of all others protobuf checks nothing but that
// they end where they say, which holds for fields that nobody knows as well.
type schema []schemaField

type schemaField struct {
	kind    fieldKind
	part    part    // what of a request it is
	message *schema // of a messageField
}

type fieldKind uint8

const (
	unknownField fieldKind = iota
	bytesField
	textField // UTF-8, or the whole message is refused
	messageField
)

// part names what a decision needs of a CheckRequest.
type part uint8

const (
	noPart part = iota
	httpPart
	methodPart
	hostPart
	pathPart
	queryPart
	fragmentPart
	bodyPart
	rawBodyPart
	headerPart // an entry of headers, whose values Envoy joined
	linePart   // a line of header_map
	extensionPart
	namePart // of an entry or a line, and its values
	valuePart
	rawValuePart
)

// parts says where they stand. All else is checked and passed over.
var parts = map[string]part{
	"attributes.request.http":                              httpPart,
	"attributes.request.http.method":                       methodPart,
	"attributes.request.http.host":                         hostPart,
	"attributes.request.http.path":                         pathPart,
	"attributes.request.http.query":                        queryPart,
	"attributes.request.http.fragment":                     fragmentPart,
	"attributes.request.http.body":                         bodyPart,
	"attributes.request.http.raw_body":                     rawBodyPart,
	"attributes.request.http.headers":                      headerPart,
	"attributes.request.http.headers.key":                  namePart,
	"attributes.request.http.headers.value":                valuePart,
	"attributes.request.http.header_map.headers":           linePart,
	"attributes.request.http.header_map.headers.key":       namePart,
	"attributes.request.http.header_map.headers.value":     valuePart,
	"attributes.request.http.header_map.headers.raw_value": rawValuePart,
	"attributes.context_extensions":                        extensionPart,
	"attributes.context_extensions.key":                    namePart,
	"attributes.context_extensions.value":                  valuePart,
}

// checkSchema is made from the generated types, so that it knows every field
// that they know.
var checkSchema = newSchema(new(authv3.CheckRequest).ProtoReflect().Descriptor())

// newSchema panics where a newer CheckRequest has what the reader was not made
// for: a repeated number may be packed, and a group has no length.
func newSchema(root protoreflect.MessageDescriptor) *schema {
	found := 0
	known := map[protoreflect.FullName]*schema{}
	var read func(d protoreflect.MessageDescriptor, at string) *schema
	read = func(d protoreflect.MessageDescriptor, at string) *schema {
		if s := known[d.FullName()]; s != nil { // a type may hold itself, as google.protobuf.Struct does
			return s
		}
		s := &schema{}
		known[d.FullName()] = s
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			path := at + string(f.Name())
			field := schemaField{part: parts[path]}
			switch f.Kind() {
			case protoreflect.StringKind:
				field.kind = textField
			case protoreflect.BytesKind:
				field.kind = bytesField
			case protoreflect.MessageKind:
				field.kind, field.message = messageField, read(f.Message(), path+".")
			case protoreflect.GroupKind:
				panic("a group: " + path)
			default:
				if f.IsList() {
					panic("a list of numbers: " + path)
				}
				continue
			}
			if field.part != noPart {
				found++
			}
			s.set(f.Number(), field)
		}
		return s
	}
	s := read(root, "")
	if found != len(parts) { // or one of them is in a type that was met elsewhere first
		panic(fmt.Sprintf("found %d parts of a request, not %d", found, len(parts)))
	}
	return s
}

func (s *schema) set(number protowire.Number, f schemaField) {
	for int(number) >= len(*s) {
		*s = append(*s, schemaField{})
	}
	(*s)[number] = f
}

// field returns what is known of a number; the zero value where nothing is.
func (s *schema) field(number protowire.Number) schemaField {
	if int(number) < len(*s) {
		return (*s)[number]
	}
	return schemaField{}
}
