package policy

import (
	"encoding/base64"
	"regexp"
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
	case "", "pagetoken", "nextpagetoken", "nexttoken", "continuationtoken", "synctoken", // places in a list
		"tokentype", "tokencount", "maxtokens":
		return false
	case "clientassertion", "codeverifier", "oauthverifier", "sid",
		"session", "sessionid", "jsessionid", "phpsessid", "samlresponse", "authkey", "authcode":
		return true
	}
	for _, part := range []string{"password", "passwd", "passphrase", "passcode", "secret", "apikey", "accesskey", "privatekey", "credential"} {
		if strings.Contains(n, part) {
			return true
		}
	}
	return strings.HasSuffix(n, "token") || strings.HasSuffix(n, "signature") || strings.HasSuffix(n, "jwt") || hasCredentialWord(name)
}

// Words of a name that make a credential of what it names, wherever they stand
// in it, and keys and codes by the word before them.
var (
	credentialWords = wordSet("auth authentication authorization assertion bearer credentials dpop hmac jwt jwts otp pass passwort pin pw pwd sig signature signatures ticket token tokens totp")
	sessionWords    = wordSet("cookie id key state ticket token")
	keyWords        = wordSet("account api app application auth client encryption function functions license master rapidapi secret service shared signing subscription")
	codeWords       = wordSet("access activation auth authorization backup confirmation device invite login mfa recovery reset security sms user verification")
)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// hasCredentialWord looks at the words of a name, which anything but letters
// separates, and a capital behind a small letter: X-Authorization, idTokenHint.
func hasCredentialWord(name string) bool {
	before := ""
	for rest := name[:min(len(name), maxCredentialName)]; rest != ""; {
		var word string
		if word, rest = cutWord(rest); word == "" {
			continue
		}
		if credentialWords[word] || before == "session" && sessionWords[word] || word == "key" && keyWords[before] || word == "code" && codeWords[before] {
			return true
		}
		before = word
	}
	return before == "session" || before == "cookie"
}

// cutWord cuts the first word off a name, in lower case; "" where it begins with
// what separates words.
func cutWord(name string) (word, rest string) {
	end := 0
	for end < len(name) {
		c := name[end]
		small, capital := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z'
		if !small && !capital || capital && end > 0 && 'a' <= name[end-1] && name[end-1] <= 'z' {
			break
		}
		end++
	}
	if end == 0 {
		return "", name[1:]
	}
	return strings.ToLower(name[:end]), name[end:]
}

// maxCredentialName: a longer name is none that anybody gave to a credential.
const maxCredentialName = 256

// isCredentialParameter adds names that say so in a query or a form alone: of an
// OAuth code, and the key of many an API.
func isCredentialParameter(name string) bool {
	n := plainName(name)
	return n == "code" || n == "key" || isCredential(name)
}

// plainName is a name in lower case without what separates its words. Beyond its
// bound a name is none that anybody gave to a credential.
func plainName(name string) string {
	name = name[:min(len(name), maxCredentialName)]
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
// headers, queries, paths and bodies, wherever they stand. secret names more
// headers, in lower case; form says that the body is one. Claims of the identity
// stay.
func hideCredentials(document map[string]any, form bool, secret func(name string) bool) {
	request, _ := document["request"].(map[string]any)
	hideHeaders(request["headers"], secret)
	hideParameters(request["query"])
	hideParameters(document["parsed_query"])
	if path, ok := request["path"].(string); ok {
		request["path"] = hideText(path)
	}
	for _, path := range []any{request["segments"], request["plain_segments"], document["parsed_path"], inside(document, "route")["params"]} {
		hideFields(path)
	}
	if body, found := document["parsed_body"]; found && form {
		document["parsed_body"] = hideForm(body)
	} else if found {
		document["parsed_body"] = hideFields(body)
	}
	hideHTTP(inside(document, "attributes", "request", "http"), secret)
}

// HideText masks in a text from a request, such as its path, what is a credential
// by its form: a JWT, a private key, the password of a URL, a parameter of a
// credential's name.
func HideText(text string) string { return hideText(text) }

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
			http[key] = hideText(text)
		}
	}
	if text, ok := http["body"].(string); ok {
		http["body"] = hideBody(text)
	}
	for _, key := range []string{"raw_body", "rawBody"} {
		if text, ok := http[key].(string); ok {
			if raw, err := base64.StdEncoding.DecodeString(text); err != nil || hideBody(string(raw)) != string(raw) {
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
	case hasScheme(value):
		scheme, _, _ := strings.Cut(value, " ")
		return scheme + " " + hiddenText
	}
	return hideText(value)
}

// hasScheme reports whether a header's value is a scheme of authentication and
// what follows it, under whatever name: X-Forwarded-Authorization, X-User.
func hasScheme(value string) bool {
	scheme, rest, _ := strings.Cut(strings.TrimLeft(value, " "), " ")
	switch strings.ToLower(scheme) {
	case "bearer", "basic", "digest", "dpop", "negotiate", "ntlm", "token", "hawk", "aws4-hmac-sha256", "apikey", "api-key":
		return rest != ""
	}
	return false
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

// hideText masks what is a credential by its own form, wherever it stands, and
// parameters of a URL.
func hideText(text string) string {
	switch {
	case strings.Contains(text, "PRIVATE KEY-----"):
		return hiddenText
	case len(text) > 7 && strings.EqualFold(text[:7], "bearer "):
		return text[:7] + hiddenText
	case strings.Contains(text, "eyJ"):
		text = signedToken.ReplaceAllString(text, hiddenText)
	}
	if strings.Contains(text, "://") {
		text = userPassword.ReplaceAllString(text, "${1}"+hiddenText+"@")
	}
	return hideQuery(text)
}

var (
	// A JWS or JWE: its header is an object in base64.
	signedToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_.-]*`)
	// The password of a URL.
	userPassword = regexp.MustCompile(`(://[^/?#@:\s"']{0,256}:)[^/?#@\s"']+@`)
)

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
		if found && value != "" && (isCredentialParameter(unescapeName(name)) || hidesCredential(value)) {
			pair = name + "=" + hiddenText
		}
		b.WriteString(pair)
		b.WriteString(after)
	}
	return b.String()
}

// hidesCredential reports whether an escaped value has a credential in it:
// return_to=%2Fx%3Faccess_token%3D…
func hidesCredential(value string) bool {
	if !strings.Contains(value, "%") {
		return false
	}
	plain := unescapeName(value)
	if strings.ContainsAny(plain, "?#&;") {
		for pair := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '?' || r == '#' || r == '&' || r == ';' }) {
			if name, text, found := strings.Cut(pair, "="); found && text != "" && isCredentialParameter(unescapeName(name)) {
				return true
			}
		}
	}
	return userPassword.MatchString(plain)
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
	hideNames(object)
	for name, value := range object {
		list, _ := value.([]any)
		for i := range list {
			if isCredentialParameter(name) {
				list[i] = hiddenText
			} else if text, ok := list[i].(string); ok {
				list[i] = hideText(text) // return_to=/x?access_token=…
			}
		}
	}
}

// hideNames masks names that are credentials themselves: of ?eyJ… alone.
func hideNames(object map[string]any) {
	for name, value := range object {
		if len(name) > 20 && strings.Contains(name, "eyJ") {
			if hidden := hideText(name); hidden != name {
				delete(object, name)
				object[hidden] = value
			}
		}
	}
}

// hideFields masks fields of a body that was read, at any depth.
func hideFields(value any) any {
	switch v := value.(type) {
	case map[string]any:
		hideNames(v)
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
	case string:
		if namesCredential(v) {
			return hiddenText
		}
		return hideText(v)
	}
	return value
}

// namesCredential reports whether a text holds a member of a credential's name, as
// a GraphQL document, or JSON within JSON, does.
func namesCredential(text string) bool {
	if !strings.Contains(text, ":") {
		return false
	}
	for _, member := range memberName.FindAllStringSubmatch(text, -1) {
		if isCredential(member[1]) {
			return true
		}
	}
	return false
}

var memberName = regexp.MustCompile(`([A-Za-z0-9_.-]{1,256})[\\"']{0,4}\s{0,4}:`)

// hideForm masks fields of a form, whose names are those of parameters.
func hideForm(form any) any {
	object, _ := form.(map[string]any)
	for name := range object {
		if isCredentialParameter(name) {
			object[name] = hiddenText
		}
	}
	return hideFields(form)
}

// hideBody masks a body that was not read.
func hideBody(body string) string {
	if mentionsCredential(body) || strings.Contains(body, "%") && mentionsCredential(unescapeName(body)) || escapedLetter.MatchString(body) {
		return hiddenText
	}
	return hideText(body)
}

// A letter that JSON writes as an escape, which no honest name has.
var escapedLetter = regexp.MustCompile(`(?i)\\u00[4-7][0-9a-f]`)

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
