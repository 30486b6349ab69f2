package policy

import (
	"encoding/base64"
	"slices"
	"strings"
)

// hiddenText stands in a record for what looks like a credential.
const hiddenText = "(masked)"

// isCredential reports whether a parameter, field or header of this name carries
// what opens something, in any case and with any of `-`, `_`, `.` in it. That a
// harmless value is hidden costs a record little; the other way round it costs an
// account.
func isCredential(name string) bool {
	n := plainName(name)
	switch n {
	case "", "pagetoken", "nextpagetoken", "nexttoken", "continuationtoken", "synctoken": // places in a list
		return false
	case "auth", "authorization", "assertion", "clientassertion", "codeverifier", "jwt", "otp", "totp", "pwd", "sig", "sid",
		"session", "sessionid", "jsessionid", "phpsessid", "ticket", "samlresponse", "credential", "credentials":
		return true
	}
	for _, part := range []string{"password", "passwd", "passphrase", "passcode", "secret", "apikey", "accesskey", "privatekey", "credential"} {
		if strings.Contains(n, part) {
			return true
		}
	}
	return strings.HasSuffix(n, "token") || strings.HasSuffix(n, "signature") || strings.HasSuffix(n, "jwt")
}

// isCredentialParameter adds names that say so in a query or a form alone: of an
// OAuth code, and the key of many an API.
func isCredentialParameter(name string) bool {
	n := plainName(name)
	return n == "code" || n == "key" || isCredential(n)
}

// plainName is a name in lower case without what separates its words. Beyond its
// bound a name is none that anybody gave to a credential.
func plainName(name string) string {
	if len(name) > 256 {
		name = name[:256]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r == '-' || r == '_' || r == '.' || r == '[' || r == ']' || r == ' ' || r == '+':
			return -1
		}
		return r
	}, name)
}

// hideCredentials masks in an input document what looks like a credential: in
// headers, queries and bodies, wherever they stand. secret names more headers, in
// lower case. Claims of the identity stay.
func hideCredentials(document map[string]any, secret func(name string) bool) {
	request, _ := document["request"].(map[string]any)
	hideHeaders(request["headers"], secret)
	hideParameters(request["query"])
	hideParameters(document["parsed_query"])
	if body, found := document["parsed_body"]; found {
		document["parsed_body"] = hideFields(body)
	}
	hideHTTP(inside(document, "attributes", "request", "http"), secret)
}

func inside(object map[string]any, path ...string) map[string]any {
	for _, key := range path {
		object, _ = object[key].(map[string]any)
	}
	return object
}

// hideHTTP masks Envoy's own form of the request.
func hideHTTP(http map[string]any, secret func(name string) bool) {
	hideHeaders(http["headers"], secret)
	for _, key := range []string{"path", "query", "fragment"} {
		if text, ok := http[key].(string); ok {
			http[key] = hideQuery(text)
		}
	}
	if text, ok := http["body"].(string); ok && mentionsCredential(text) {
		http["body"] = hiddenText
	}
	for _, key := range []string{"raw_body", "rawBody"} {
		if text, ok := http[key].(string); ok {
			if raw, err := base64.StdEncoding.DecodeString(text); err != nil || mentionsCredential(string(raw)) {
				http[key] = hiddenText
			}
		}
	}
	lines, _ := inside(http, "headerMap")["headers"].([]any)
	for _, line := range lines { // the same headers once more, by encode_raw_headers
		fields, _ := line.(map[string]any)
		name, _ := fields["key"].(string)
		if text, ok := fields["value"].(string); ok {
			fields["value"] = hideHeader(name, text, secret)
		}
		for _, key := range []string{"rawValue", "raw_value"} {
			text, ok := fields[key].(string)
			if !ok {
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(text)
			hidden := hideHeader(name, string(raw), secret)
			if err != nil {
				hidden = hiddenText
			}
			fields[key] = base64.StdEncoding.EncodeToString([]byte(hidden))
		}
	}
}

func hideHeaders(headers any, secret func(name string) bool) {
	object, _ := headers.(map[string]any)
	for name, value := range object {
		if text, ok := value.(string); ok {
			object[name] = hideHeader(name, text, secret)
		} else if secret(strings.ToLower(name)) || isCredential(name) {
			object[name] = hiddenText
		}
	}
}

// hideHeader masks the value of a header: of cookies all but their names, and in a
// URL (Referer, :path) what looks like a credential.
func hideHeader(name, value string, secret func(name string) bool) string {
	switch lower := strings.ToLower(name); {
	case lower == "cookie" || lower == "set-cookie":
		return hideCookies(value)
	case lower == "proxy-authorization" || lower == "sec-websocket-protocol" || secret(lower) || isCredential(lower):
		return hiddenText
	case strings.ContainsAny(value, "?#"):
		return hideQuery(value)
	}
	return value
}

func hideCookies(value string) string {
	pairs := strings.Split(value, ";")
	for i, pair := range pairs {
		name, _, found := strings.Cut(pair, "=")
		if pairs[i] = name + "=" + hiddenText; !found {
			pairs[i] = hiddenText
		}
	}
	return strings.Join(pairs, ";")
}

// hideQuery masks values in a URL or in a query alone. What follows a "#" is one
// too, as implicit flows have it; "&" and ";" separate.
func hideQuery(text string) string {
	if !strings.Contains(text, "=") {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for rest := text; rest != ""; {
		end := strings.IndexAny(rest, "?#&;")
		pair, after := rest, ""
		if end >= 0 {
			pair, after = rest[:end], rest[end:end+1]
		}
		rest = rest[len(pair)+len(after):]
		name, value, found := strings.Cut(pair, "=")
		if found && value != "" && isCredentialParameter(unescapeName(name)) {
			pair = name + "=" + hiddenText
		}
		b.WriteString(pair)
		b.WriteString(after)
	}
	return b.String()
}

// unescapeName undoes percent-encoding; what is none of it stays.
func unescapeName(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			if hi, lo := strings.IndexByte(hexDigits, name[i+1]|0x20), strings.IndexByte(hexDigits, name[i+2]|0x20); hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo)) // #nosec G115 -- two digits of four bits each
				i += 2
				continue
			}
		}
		b = append(b, name[i])
	}
	return string(b)
}

const hexDigits = "0123456789abcdef"

// hideParameters masks values of a query that was read.
func hideParameters(query any) {
	object, _ := query.(map[string]any)
	for name, value := range object {
		list, _ := value.([]any)
		for i := range list {
			if isCredentialParameter(name) {
				list[i] = hiddenText
			} else if text, ok := list[i].(string); ok && strings.ContainsAny(text, "?#") {
				list[i] = hideQuery(text) // return_to=/x?access_token=…
			}
		}
	}
}

// hideFields masks fields of a body that was read, at any depth.
func hideFields(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, below := range v {
			if isCredential(name) && below != nil {
				v[name] = hiddenText
			} else {
				v[name] = hideFields(below)
			}
		}
	case []any:
		for i := range v {
			v[i] = hideFields(v[i])
		}
	}
	return value
}

// mentionsCredential reports whether a body that was not read names something like
// a credential: then all of it is hidden, since nobody knows where it ends.
func mentionsCredential(body string) bool {
	words := strings.FieldsFuncSeq(body, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	})
	for word := range words {
		if isCredential(word) || slices.Contains([]string{"code", "key"}, strings.ToLower(word)) {
			return true
		}
	}
	return false
}
