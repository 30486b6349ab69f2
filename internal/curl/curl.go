// Package curl reads a curl command line as the HTTP request that it would
// send: what a developer has at hand, and what a browser's "Copy as cURL" gives.
// It is strict: a flag that it does not know could change the request, and is an
// error that names it.
package curl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// Request is what curl would send.
type Request struct {
	Method  string
	Host    string
	Target  string // path and query, as sent
	Scheme  string // http or https
	Headers []httpfield.Field
	Body    []byte
}

// ReadFile returns the content of a file that the command line names.
type ReadFile func(name string) ([]byte, error)

// ParseLine reads a command line as it stands in a shell.
func ParseLine(line string, read ReadFile) (*Request, error) {
	words, err := Words(line)
	if err != nil {
		return nil, err
	}
	return Parse(words, read)
}

// Parse reads the words of a command line, the first of which is curl.
func Parse(words []string, read ReadFile) (*Request, error) {
	if len(words) == 0 || strings.TrimSuffix(path.Base(words[0]), ".exe") != "curl" {
		return nil, errors.New("the command line does not begin with curl")
	}
	p := parser{rest: words[1:], read: read, headers: map[string]bool{}}
	for len(p.rest) > 0 {
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	return p.request()
}

// parser is curl's command line, as far as it was read.
type parser struct {
	rest []string
	read ReadFile
	only bool // what follows are URLs: "--" was there

	method, url, host string
	get, head         bool
	glob, asIs        bool
	basic, bearer     string
	fields            []httpfield.Field
	headers           map[string]bool // names that -H sets or removes
	cookies           []string
	body              strings.Builder
	hasBody, jsonBody bool
}

// option is what a flag does with its value.
type option func(p *parser, value string) error

// valued are the flags that take a value and matter.
var valued = map[string]option{
	"request":        func(p *parser, v string) error { p.method = v; return nil },
	"url":            (*parser).setURL,
	"header":         (*parser).header,
	"cookie":         (*parser).cookie,
	"data":           func(p *parser, v string) error { return p.data(v, true, true) },
	"data-ascii":     func(p *parser, v string) error { return p.data(v, true, true) },
	"data-binary":    func(p *parser, v string) error { return p.data(v, true, false) },
	"data-raw":       func(p *parser, v string) error { return p.data(v, false, false) },
	"data-urlencode": (*parser).encoded,
	"json":           (*parser).json,
	"user":           func(p *parser, v string) error { p.basic = v; return nil },
	"oauth2-bearer":  func(p *parser, v string) error { p.bearer = v; return nil },
	"user-agent":     func(p *parser, v string) error { return p.header("User-Agent: " + v) },
	"referer":        func(p *parser, v string) error { return p.header("Referer: " + v) },
}

// switches are the flags without a value that matter.
var switches = map[string]func(p *parser){
	"get":        func(p *parser) { p.get = true },
	"head":       func(p *parser) { p.head = true },
	"globoff":    func(p *parser) { p.glob = true },
	"path-as-is": func(p *parser) { p.asIs = true },
}

// ignored are flags that change nothing of the request as a service behind
// Envoy sees it; true: with a value.
var ignored = map[string]bool{
	"silent": false, "show-error": false, "include": false, "show-headers": false, "verbose": false, "insecure": false,
	"location": false, "fail": false, "fail-with-body": false, "compressed": false, "no-buffer": false,
	"progress-bar": false, "no-progress-meter": false, "remote-name": false, "remote-header-name": false,
	"ipv4": false, "ipv6": false, "http1.0": false, "http1.1": false, "http2": false, "http2-prior-knowledge": false,
	"http3": false, "http3-only": false, "tlsv1": false, "tlsv1.2": false, "tlsv1.3": false, "no-keepalive": false,
	"tcp-nodelay": false, "disable": false, "basic": false, "raw": false, "ssl-reqd": false,
	"output": true, "write-out": true, "max-time": true, "connect-timeout": true, "retry": true, "retry-delay": true,
	"retry-max-time": true, "retry-all-errors": false, "max-redirs": true, "cacert": true, "capath": true, "cert": true,
	"key": true, "pass": true, "ciphers": true, "tls-max": true, "resolve": true, "connect-to": true, "proxy": true,
	"noproxy": true, "interface": true, "limit-rate": true, "cookie-jar": true, "dump-header": true, "stderr": true,
	"trace": true, "trace-ascii": true, "trace-time": false, "unix-socket": true, "keepalive-time": true,
}

// short are the one-letter flags.
var short = map[byte]string{
	'X': "request", 'H': "header", 'b': "cookie", 'd': "data", 'u': "user", 'A': "user-agent", 'e': "referer",
	'G': "get", 'I': "head", 'g': "globoff",
	's': "silent", 'S': "show-error", 'i': "include", 'v': "verbose", 'k': "insecure", 'L': "location", 'f': "fail",
	'N': "no-buffer", '#': "progress-bar", 'O': "remote-name", 'J': "remote-header-name", '4': "ipv4", '6': "ipv6",
	'0': "http1.0", '1': "tlsv1", 'q': "disable",
	'o': "output", 'w': "write-out", 'm': "max-time", 'E': "cert", 'x': "proxy", 'c': "cookie-jar", 'D': "dump-header",
}

// next reads one word, and the next one where it is a flag's value.
func (p *parser) next() error {
	word := p.rest[0]
	p.rest = p.rest[1:]
	switch {
	case p.only || word == "-" || !strings.HasPrefix(word, "-"):
		return p.setURL(word)
	case word == "--":
		p.only = true
		return nil
	case strings.HasPrefix(word, "--"):
		takes, err := p.takes(word, word[2:])
		if err != nil || !takes {
			return err
		}
		return p.value(word, word[2:], "", false)
	}
	for i := 1; i < len(word); i++ {
		flag := "-" + word[i:i+1]
		takes, err := p.takes(flag, short[word[i]])
		if err != nil {
			return err
		}
		if takes { // -XPOST, or -X POST
			return p.value(flag, short[word[i]], word[i+1:], i+1 < len(word))
		}
	}
	return nil
}

// takes does what a flag without a value does, and tells whether it has one.
func (p *parser) takes(flag, name string) (bool, error) {
	if do, ok := switches[name]; ok {
		do(p)
		return false, nil
	}
	if _, ok := valued[name]; ok {
		return true, nil
	}
	takes, ok := ignored[name]
	if !ok {
		return false, fmt.Errorf("the curl flag %s is not known here: leave it out, or write the request without it", shorten(flag))
	}
	return takes, nil
}

func (p *parser) value(flag, name, value string, has bool) error {
	if !has {
		if len(p.rest) == 0 {
			return fmt.Errorf("the curl flag %s has no value", flag)
		}
		value, p.rest = p.rest[0], p.rest[1:]
	}
	do, ok := valued[name]
	if !ok {
		return nil // ignored
	}
	if err := do(p, value); err != nil {
		return fmt.Errorf("the curl flag %s: %w", flag, err)
	}
	return nil
}

func (p *parser) setURL(value string) error {
	if p.url != "" {
		return fmt.Errorf("two URLs, %s and %s: explain takes one request at a time", shorten(p.url), shorten(value))
	}
	if value == "" {
		return errors.New("the URL is empty")
	}
	p.url = value
	return nil
}

// header reads -H as curl does: "Name:" takes a header of curl's own away, and
// "Name;" sends an empty one.
func (p *parser) header(line string) error {
	if strings.HasPrefix(line, "@") {
		return errors.New("headers from a file are not read: write them out")
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		name, ok = strings.CutSuffix(line, ";")
	} else if value = strings.TrimSpace(value); value == "" {
		p.headers[strings.ToLower(name)] = true
		return nil
	}
	if !ok || name == "" || name != strings.TrimSpace(name) {
		return fmt.Errorf("%s is no header: write 'Name: value'", shorten(line))
	}
	if strings.EqualFold(name, "host") {
		p.host = value
		return nil
	}
	p.headers[strings.ToLower(name)] = true
	p.fields = append(p.fields, httpfield.Field{Name: name, Value: value})
	return nil
}

func (p *parser) cookie(value string) error {
	if !strings.Contains(value, "=") {
		return errors.New("a cookie jar is not read: write name=value")
	}
	p.cookies = append(p.cookies, value)
	return nil
}

// data adds a part of a form. lines are dropped from files by all but
// --data-binary.
func (p *parser) data(value string, files, dropLines bool) error {
	if name, ok := strings.CutPrefix(value, "@"); ok && files {
		content, err := p.file(name)
		if err != nil {
			return err
		}
		value = content
		if dropLines {
			value = strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(value)
		}
	}
	if p.hasBody {
		p.body.WriteByte('&')
	}
	p.body.WriteString(value)
	p.hasBody = true
	return nil
}

func (p *parser) file(name string) (string, error) {
	if name == "-" {
		return "", errors.New("standard input is not read: write the data out, or name a file")
	}
	content, err := p.read(name)
	return string(content), err
}

func (p *parser) encoded(value string) error {
	name, content, named := strings.Cut(value, "=")
	if !named {
		if strings.Contains(value, "@") {
			return errors.New("data to encode is not read from files: write it out")
		}
		return p.data(escape(value), false, false)
	}
	if name != "" {
		name += "="
	}
	return p.data(name+escape(content), false, false)
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (p *parser) json(value string) error {
	if name, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if value, err = p.file(name); err != nil {
			return err
		}
	}
	p.body.WriteString(value)
	p.hasBody, p.jsonBody = true, true
	return nil
}

// request puts together what was read.
func (p *parser) request() (*Request, error) {
	if p.url == "" {
		return nil, errors.New("the curl command line has no URL")
	}
	r := &Request{Headers: p.fields}
	user, err := p.location(r)
	if err != nil {
		return nil, err
	}
	if p.basic == "" {
		p.basic = user
	}
	if p.host != "" {
		r.Host = p.host
	}
	if p.hasBody && p.get {
		separator := "?"
		if strings.Contains(r.Target, "?") {
			separator = "&"
		}
		r.Target += separator + p.body.String()
	} else if p.hasBody {
		r.Body = []byte(p.body.String())
	}
	switch {
	case p.head && r.Body != nil:
		return nil, errors.New("curl sends either a HEAD request or data, not both: add -G, or leave -I out")
	case p.method != "":
		r.Method = p.method
	case p.head:
		r.Method = "HEAD"
	case r.Body != nil:
		r.Method = "POST"
	default:
		r.Method = "GET"
	}
	p.ownHeaders(r)
	return r, nil
}

// ownHeaders adds what curl sends unless -H says otherwise.
func (p *parser) ownHeaders(r *Request) {
	add := func(name, value string) {
		if !p.headers[strings.ToLower(name)] {
			r.Headers = append(r.Headers, httpfield.Field{Name: name, Value: value})
		}
	}
	add("User-Agent", "curl")
	switch {
	case p.bearer != "":
		add("Authorization", "Bearer "+p.bearer)
	case p.basic != "":
		add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.basic)))
	}
	if len(p.cookies) > 0 {
		r.Headers = append(r.Headers, httpfield.Field{Name: "Cookie", Value: strings.Join(p.cookies, "; ")})
	}
	if p.jsonBody {
		add("Accept", "application/json")
	} else {
		add("Accept", "*/*")
	}
	if r.Body == nil {
		return
	}
	if p.jsonBody {
		add("Content-Type", "application/json")
	} else {
		add("Content-Type", "application/x-www-form-urlencoded")
	}
	add("Content-Length", strconv.Itoa(len(r.Body)))
}

func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
