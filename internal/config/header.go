package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var headerName = regexp.MustCompile("^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$")

// headerProblem says why the lower-case name can't be a header that we set or
// select by; "" is none. A claim in one of the refused ones would change how
// the message is framed, routed or trusted, for a token's holder to choose.
func headerProblem(name string) string {
	switch {
	case strings.HasPrefix(name, ":"):
		return fmt.Sprintf("%s is part of the request line, not a header: write another name", quoteShort(name))
	case !headerName.MatchString(name):
		return fmt.Sprintf("%s is no header name: write letters, digits and -, 128 at most", quoteShort(name))
	case reserved(strings.ReplaceAll(name, "_", "-")):
		return fmt.Sprintf("%s has a meaning of its own to proxies and servers: write another name, like x-user-id", quoteShort(name))
	}
	return ""
}

func reserved(name string) bool {
	for _, prefix := range []string{"proxy-", "x-envoy-", "x-forwarded-", "grpc-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te",
		"trailer", "upgrade", "expect", "authorization", "cookie", "set-cookie", "x-request-id", "forwarded",
	}, name)
}
