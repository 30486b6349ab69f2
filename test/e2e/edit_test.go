package e2e

import (
	"net"
	"slices"
	"strings"
)

// addEndpoint gives Envoy's authorization cluster a second address.
func addEndpoint(address string) func([]byte) []byte {
	return func(text []byte) []byte {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			panic(err)
		}
		lines := strings.Split(string(text), "\n")
		inCluster := false
		for i, line := range lines {
			if strings.Contains(line, "cluster_name: ussoauthz") && !strings.Contains(line, "envoy_grpc") {
				inCluster = true
			}
			if indent, ok := strings.CutSuffix(line, "- endpoint:"); inCluster && ok {
				second := indent + "- endpoint: {address: {socket_address: {address: " + host + ", port_value: " + port + "}}}"
				return []byte(strings.Join(slices.Insert(lines, i, second), "\n"))
			}
		}
		panic("no ussoauthz cluster in envoy.yaml")
	}
}
