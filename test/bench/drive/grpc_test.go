package drive_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/ussoio/ussoauthz/test/bench/drive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// checks is a real gRPC server that counts what it is asked, by path.
type checks struct {
	authv3.UnimplementedAuthorizationServer
	mu    sync.Mutex
	paths map[string]int
	most  atomic.Int64
	now   atomic.Int64
	pause time.Duration
}

func (c *checks) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if n := c.now.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	defer c.now.Add(-1)
	time.Sleep(c.pause)
	path := r.GetAttributes().GetRequest().GetHttp().GetPath()
	c.mu.Lock()
	c.paths[path]++
	n := c.paths[path]
	c.mu.Unlock()
	switch {
	case path == "/error":
		return nil, status.Error(codes.Internal, "broken")
	case path == "/denied at last" && n >= 50:
		return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}}, nil
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

func serve(t *testing.T, network string) (*checks, *drive.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c := &checks{paths: map[string]int{}}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // a call would fail
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	conn, err := drive.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it first
	return c, conn
}

func message(t *testing.T, path string) []byte {
	t.Helper()
	b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Path: path}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every message arrives as often as it should, over both networks, with large
// ones that the server must first make room for.
func TestRunSendsInTurn(t *testing.T) {
	large := "/" + strings.Repeat("x", 12<<10)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			server, conn := serve(t, network)
			for range 2 { // the second run uses the same connection
				server.paths = map[string]int{}
				result, err := conn.Run(drive.Load{
					Messages: [][]byte{message(t, "/a"), message(t, "/b"), message(t, large)},
					InFlight: 32, For: time.Minute, Checks: 1000,
				})
				if err != nil {
					t.Fatal(err)
				}
				if result.Checks != 1000 || len(result.Latencies) != 1000 || result.Took <= 0 {
					t.Errorf("%d checks, %d latencies, in %v", result.Checks, len(result.Latencies), result.Took)
				}
				if a, b, c := server.paths["/a"], server.paths["/b"], server.paths[large]; a != 334 || b != 333 || c != 333 {
					t.Errorf("%d, %d and %d of 1000 in turn", a, b, c)
				}
				for _, l := range result.Latencies {
					if l <= 0 || l > result.Took {
						t.Fatalf("a latency of %v in a run of %v", l, result.Took)
					}
				}
			}
		})
	}
}

func TestRunEndsInTime(t *testing.T) {
	server, conn := serve(t, "tcp")
	server.pause = time.Millisecond
	result, err := conn.Run(drive.Load{Messages: [][]byte{message(t, "/a")}, InFlight: 8, For: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Checks == 0 || result.Took < 50*time.Millisecond || result.Checks != server.paths["/a"] {
		t.Errorf("%d checks in %v, the server saw %d", result.Checks, result.Took, server.paths["/a"])
	}
	if most := server.most.Load(); most < 2 || most > 8 {
		t.Errorf("%d checks at once, want up to 8", most)
	}
}

// A paced run keeps its rate although the server is slower than one call at a
// time would be.
func TestRunPaced(t *testing.T) {
	server, conn := serve(t, "tcp")
	server.pause = 10 * time.Millisecond
	result, err := conn.Run(drive.Load{Messages: [][]byte{message(t, "/a")}, InFlight: 1000, Rate: 1000, For: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Checks < 200 || result.Checks > 302 {
		t.Errorf("%d checks in 0.3 s at 1000 a second", result.Checks)
	}
}

func TestRunRefusesWrongAnswers(t *testing.T) {
	for _, tt := range []struct{ name, path, want string }{
		{"a denial among allows", "/denied at last", "status code 7, want 0"},
		{"an error of gRPC", "/error", `grpc-status is "13"`},
		{"too large for a frame", strings.Repeat("x", 17<<10), "one frame"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, conn := serve(t, "tcp")
			_, err := conn.Run(drive.Load{Messages: [][]byte{message(t, tt.path)}, InFlight: 4, For: time.Minute, Checks: 100})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
