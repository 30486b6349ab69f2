package scopes

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Filters are what a request offers to the filters of a scope: one of the maps
// has to satisfy all that the scope asks for. nil offers nothing, which is
// enough for a scope without filters. Filters without a map, which are not nil,
// satisfy no scope at all: that is the SDK's rule.
type Filters []map[string]string

// EachOf offers the members of one map one by one, as the SDK does with a
// dictionary. An empty map satisfies no scope.
func EachOf(members map[string]string) Filters {
	filters := Filters{}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		filters = append(filters, map[string]string{key: members[key]})
	}
	return filters
}

// FiltersFrom reads filters from decoded JSON: null, an object whose members
// are tried one by one, or an array of objects. Anything else satisfies no
// scope. Values are read as text: numbers without a fraction, and True, False
// and None. A value that has no such text is left out.
func FiltersFrom(value any) Filters {
	filters := Filters{}
	switch value := value.(type) {
	case nil:
		return nil
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			filters = append(filters, texts(map[string]any{key: value[key]}))
		}
	case []any:
		for _, element := range value {
			// What is no object still offers nothing, as {} does.
			members, _ := element.(map[string]any)
			filters = append(filters, texts(members))
		}
	}
	return filters
}

func texts(members map[string]any) map[string]string {
	result := make(map[string]string, len(members))
	for key, value := range members {
		if text, ok := textOf(value); ok {
			result[key] = text
		}
	}
	return result
}

func textOf(value any) (string, bool) {
	switch value := value.(type) {
	case nil:
		return "None", true
	case bool:
		if value {
			return "True", true
		}
		return "False", true
	case string:
		return value, true
	case json.Number:
		return value.String(), isInteger(value.String())
	case float64:
		text := strconv.FormatFloat(value, 'f', -1, 64)
		return text, isInteger(text)
	}
	return "", false
}

func isInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}
