package policy

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// Each token is refused where it is read, also where the decoder would let it
// pass or complain only of the next one.
func TestTokensThatCannotBeRead(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		read func(*jsonReader) (any, error)
	}{
		"half a surrogate pair":    {`"\ud800"`, func(r *jsonReader) (any, error) { return r.text() }},
		"an escape that is none":   {`"\x"`, func(r *jsonReader) (any, error) { return r.text() }},
		"a sign without digits":    {`-x`, func(r *jsonReader) (any, error) { return r.number() }},
		"an exponent that is cut":  {`1e`, func(r *jsonReader) (any, error) { return r.number() }},
		"a list that is an object": {`}`, func(r *jsonReader) (any, error) { return r.list(1) }},
		"an object that is a list": {`]`, func(r *jsonReader) (any, error) { return r.object(1) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := &jsonReader{names: 10, decoder: jsontext.NewDecoder(strings.NewReader(tt.text), jsontext.AllowInvalidUTF8(true))}
			if value, err := tt.read(r); err == nil {
				t.Errorf("got %v", value)
			}
		})
	}
}
