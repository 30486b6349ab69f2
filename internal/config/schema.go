package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/ussoio/ussoauthz/pkg/tenants"
)

// Schema returns the JSON schema of the configuration file, for editors. It is
// made from the types that the decoder fills, so that it follows them; what only
// the checks know (ranges, files, what excludes what, what is missing) is not in
// it: a part of a file is judged like a whole one.
func Schema() ([]byte, error) {
	tenant := typeSchema(reflect.TypeFor[tenants.Config]())
	root := typeSchema(reflect.TypeFor[Config]())
	properties := root["properties"].(schema)
	properties["defaults"] = schema{"$ref": "#/$defs/tenant"}
	properties["tenants"] = schema{
		"type":                 "object",
		"minProperties":        1,
		"propertyNames":        schema{"pattern": tenantID.String()},
		"additionalProperties": schema{"$ref": "#/$defs/tenant"},
	}
	readings := schema{"type": "array", "uniqueItems": true, "items": schema{"anyOf": []schema{{"enum": tenants.ReadingNames()}, fromEnv}}}
	properties["path_readings"], tenant["properties"].(schema)["path_readings"] = readings, readings
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "ussoauthz configuration"
	root["$defs"] = schema{"tenant": tenant}
	text, err := json.MarshalIndent(root, "", "  ")
	return append(text, '\n'), err
}

type schema = map[string]any

// fromEnv is a value that comes out of the environment, whatever it is for.
var fromEnv = schema{"type": "string", "pattern": `\$\{env:`}

// typeSchema describes what the decoder takes for a type; see decoder.typed.
func typeSchema(t reflect.Type) schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return schema{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$|\$\{env:`}
	case reflect.TypeFor[Size]():
		return schema{"anyOf": []schema{{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB)$|^0$|\$\{env:`}, {"const": 0}}}
	case secretType:
		return schema{"type": "string"}
	case reflect.TypeFor[tenants.StringList]():
		item := schema{"type": "string", "minLength": 1}
		return schema{"anyOf": []schema{item, {"type": "array", "items": item}}}
	}
	switch t.Kind() {
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"anyOf": []schema{{"type": "boolean"}, fromEnv}}
	case reflect.Int:
		return schema{"anyOf": []schema{{"type": "integer"}, fromEnv}}
	case reflect.Float64:
		return schema{"anyOf": []schema{{"type": "number", "minimum": 0, "maximum": 1}, fromEnv}}
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.Slice:
		items := typeSchema(t.Elem())
		if t.Elem().Kind() == reflect.String {
			items["minLength"] = 1
		}
		return schema{"type": "array", "items": items}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Struct:
		return structSchema(t)
	}
	return schema{} // any value: another program defines it
}

// structSchema describes a section: its keys, and no others.
func structSchema(t reflect.Type) schema {
	properties := schema{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && name != "-" {
			properties[name] = typeSchema(f.Type)
		}
	}
	return schema{"type": "object", "additionalProperties": false, "properties": properties}
}
