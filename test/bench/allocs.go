package main

import (
	"bufio"
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/test/bench/world"
)

// metric reads a counter of a server, the sum over all its labels. It reports
// false where the server has none of that name.
func (s *server) metric(ctx context.Context, name string) (sum float64, found bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return 0, false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, false
	}
	defer func() { _ = res.Body.Close() }() // it is read whole
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, false
		}
		sum, found = sum+value, true
	}
	return sum, found
}

// mallocs is how many objects a server has allocated since its start.
func (s *server) mallocs(ctx context.Context) (float64, bool) {
	return s.metric(ctx, "go_memstats_mallocs_total")
}

// ownMallocs is what asking a server for them allocates there.
func (s *server) ownMallocs(ctx context.Context) float64 {
	_, _ = s.mallocs(ctx) // the first one costs more: buffers are made
	before, ok := s.mallocs(ctx)
	after, again := s.mallocs(ctx)
	if !ok || !again {
		return 0
	}
	return after - before
}

// generatedAllocs counts what the generated types allocate in the floor, to read
// a usual CheckRequest and to write the fixed answer.
func generatedAllocs(w *world.Issuers) (float64, error) {
	b, err := hot(1, 1, 10)(w, 0)
	if err != nil {
		return 0, err
	}
	answer := &authv3.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}
	const times = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if err := proto.Unmarshal(b.messages[0], new(authv3.CheckRequest)); err != nil {
			return 0, err
		}
		if _, err := proto.Marshal(answer); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / times, nil
}
