package explain

import (
	"fmt"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// Attributes are those that Envoy would send for a request, as far as it says
// what they are: for policies that read input.attributes.
func Attributes(m *extauthz.Message) any {
	headers := map[string]any{}
	for name, value := range Joined(m.Headers) {
		headers[name] = value
	}
	request := map[string]any{
		"method": m.Method, "host": m.Host, "path": m.Target, "headers": headers,
		"scheme": "https", "protocol": "HTTP/1.1", "size": fmt.Sprint(len(m.Body)),
	}
	if len(m.Body) > 0 {
		request["body"] = string(m.Body)
	}
	extensions := map[string]any{}
	for _, e := range m.Extensions {
		extensions[e.Name] = e.Value
	}
	return map[string]any{"request": map[string]any{"http": request}, "contextExtensions": extensions}
}

// Joined is a header block with the lines of one name joined, as Envoy joins
// them, under lower-case names.
func Joined(list []httpfield.Field) map[string]string {
	all := map[string]string{}
	for _, h := range list {
		name := strings.ToLower(h.Name)
		first, more := all[name]
		switch {
		case !more:
			all[name] = h.Value
		case name == "cookie":
			all[name] = first + "; " + h.Value
		default:
			all[name] = first + "," + h.Value
		}
	}
	return all
}
