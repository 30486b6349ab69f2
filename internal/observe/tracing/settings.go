package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// settings are the variables that are read. The SDK goes on with a default where
// it can't use one, or does worse: a negative size makes it panic.
type settings map[string]string

// newSettings takes those of an environment, as os.Environ has it.
func newSettings(environ []string) settings {
	s := settings{}
	for _, line := range environ {
		if name, value, _ := strings.Cut(line, "="); strings.HasPrefix(name, "OTEL_") && strings.TrimSpace(value) != "" {
			s[name] = strings.TrimSpace(value)
		}
	}
	return s
}

// checks say what a value must be. A value is in no error: it may hold a secret.
var checks = map[string]func(value string) error{
	"OTEL_SDK_DISABLED":    nil, // these have checks of their own
	"OTEL_TRACES_EXPORTER": nil, "OTEL_TRACES_SAMPLER": nil, "OTEL_TRACES_SAMPLER_ARG": nil,
	"OTEL_EXPORTER_OTLP_PROTOCOL": nil, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": nil,
	"OTEL_SERVICE_NAME": nil, "OTEL_RESOURCE_ATTRIBUTES": nil,
	"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector,
	"OTEL_EXPORTER_OTLP_TIMEOUT": milliseconds, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": milliseconds,
	"OTEL_EXPORTER_OTLP_HEADERS": headers, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers,
	"OTEL_EXPORTER_OTLP_COMPRESSION": oneOf("gzip", "none"), "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": oneOf("gzip", "none"),
	"OTEL_EXPORTER_OTLP_INSECURE": oneOf("true", "false"), "OTEL_EXPORTER_OTLP_TRACES_INSECURE": oneOf("true", "false"),
	"OTEL_EXPORTER_OTLP_CERTIFICATE": authorities, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": authorities,
	"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": nil, "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": nil, // see clientCertificates
	"OTEL_EXPORTER_OTLP_CLIENT_KEY": nil, "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": nil,
	"OTEL_BSP_SCHEDULE_DELAY": milliseconds, "OTEL_BSP_EXPORT_TIMEOUT": milliseconds,
	"OTEL_BSP_MAX_QUEUE_SIZE": spans, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": spans,
	"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": integer, "OTEL_ATTRIBUTE_COUNT_LIMIT": integer,
	"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": integer, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": integer,
	"OTEL_SPAN_EVENT_COUNT_LIMIT": integer, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": integer,
	"OTEL_SPAN_LINK_COUNT_LIMIT": integer, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": integer,
}

// ofService are the names that Kubernetes gives to every container for a Service
// that is called otel-collector or the like.
var ofService = regexp.MustCompile(`_(SERVICE_(HOST|PORT)|PORT)(_|$)`)

// unused lists what is set and changes nothing: a slip of the pen, or what is for
// metrics and logs, which are not sent by OTLP.
func (s settings) unused() (names []string) {
	for name, value := range s {
		off := (name == "OTEL_METRICS_EXPORTER" || name == "OTEL_LOGS_EXPORTER") && value == "none"
		if _, known := checks[name]; !known && !off && !strings.HasPrefix(name, "OTEL_GO_") && !ofService.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// check returns what is wrong with values, all of it.
func (s settings) check() error {
	var faults []error
	for name, value := range s {
		if check := checks[name]; check != nil {
			if err := check(value); err != nil {
				faults = append(faults, fmt.Errorf("%s %w", name, err))
			}
		}
	}
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
		if err := clientCertificate(s[prefix+"CLIENT_CERTIFICATE"], s[prefix+"CLIENT_KEY"]); err != nil {
			faults = append(faults, fmt.Errorf("%sCLIENT_CERTIFICATE and %[1]sCLIENT_KEY %w", prefix, err))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

func collector(value string) error {
	if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("is no URL of a collector: write http://host:4318, or https://")
	}
	return nil
}

func milliseconds(value string) error {
	if n, err := strconv.ParseInt(value, 10, 32); err != nil || n <= 0 {
		return errors.New("is no time: write milliseconds, a whole number above 0")
	}
	return nil
}

// maxSpans bounds the memory that a queue takes at once.
const maxSpans = 1 << 20

func spans(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n <= 0 || n > maxSpans {
		return fmt.Errorf("is no number of spans: write one from 1 to %d", maxSpans)
	}
	return nil
}

func integer(value string) error {
	if _, err := strconv.Atoi(value); err != nil {
		return errors.New("is no whole number")
	}
	return nil
}

func oneOf(known ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(known, value) {
			return fmt.Errorf("is unknown: write one of %s", strings.Join(known, ", "))
		}
		return nil
	}
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func headers(value string) error {
	for _, pair := range strings.Split(value, ",") {
		name, text, found := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(text); !found || err != nil || !headerName.MatchString(strings.TrimSpace(name)) {
			return errors.New("is no list of headers: write name=value,name=value")
		}
	}
	return nil
}

func authorities(file string) error {
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names it
	if err != nil {
		return fmt.Errorf("can't be read: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("names %s, which holds no certificate in PEM", file)
	}
	return nil
}

func clientCertificate(certificate, key string) error {
	if certificate == "" && key == "" {
		return nil
	}
	if certificate == "" || key == "" {
		return errors.New("go together: set both")
	}
	if _, err := tls.LoadX509KeyPair(certificate, key); err != nil {
		return fmt.Errorf("are no certificate and its key: %w", err)
	}
	return nil
}
