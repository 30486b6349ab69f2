package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"

	"github.com/ussoio/ussoauthz/internal/config"
	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/pkg/extauthz"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/policy"
	"github.com/ussoio/ussoauthz/pkg/tenants"
	"github.com/ussoio/ussoauthz/test/oracle"
)

// errConfig: the service refuses the configuration, so there is nothing to compare.
var errConfig = errors.New("the configuration is refused")

// snapshots answers as the service does, at a time that the test sets. It is
// built from the configuration file as the service builds it; each load is a
// reload.
type snapshots struct {
	dir     string
	caches  bool
	clock   atomic.Int64 // Unix
	server  *extauthz.Server
	engines map[string]*policy.Engine // a reload keeps a policy that did not change
	kept    sync.Map                  // of a defect
	close   func()
}

func newSnapshots(dir string, caches bool) *snapshots {
	return &snapshots{dir: dir, caches: caches, server: extauthz.NewServer(extauthz.ServerConfig{}), engines: map[string]*policy.Engine{}, close: func() {}}
}

func (s *snapshots) now() time.Time { return time.Unix(s.clock.Load(), 0) }

// allFiles are those that the configuration may name.
func (st step) allFiles() map[string]string {
	all := map[string]string{policiesFile: rego}
	maps.Copy(all, st.Files)
	return all
}

// writeFiles leaves what a step is made of and nothing else in the folder, and
// returns the configuration's name.
func writeFiles(dir string, st step, change map[string]any) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for name, text := range st.allFiles() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	tree := map[string]any{}
	for _, part := range []map[string]any{st.Config, change} {
		for name, value := range part {
			tree[name] = value
		}
	}
	text, err := yaml.Marshal(tree)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "ussoauthz.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

func (s *snapshots) load(st step) error {
	change := map[string]any{}
	if !s.caches {
		change["caches"] = map[string]any{"tokens": 0, "decisions": 0}
	}
	file, err := writeFiles(s.dir, st, change)
	if err != nil {
		return err
	}
	cfg, err := config.Load(file)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	authorizer, done, err := s.authorizer(cfg)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	s.server.Use(authorizer)
	s.close()
	s.close = done
	return nil
}

// authorizer is what internal/service makes of a configuration, but for the clock.
func (s *snapshots) authorizer(cfg *config.Config) (*extauthz.Authorizer, func(), error) {
	engine, err := s.engine(cfg)
	if err != nil {
		return nil, nil, err
	}
	common, faults := tenants.NewRoutes(cfg.Routes)
	if len(faults) > 0 {
		return nil, nil, faults[0]
	}
	readings, faults := tenants.ParseReadings(cfg.PathReadings)
	if len(faults) > 0 {
		return nil, nil, faults[0]
	}
	shared := tenants.Shared{Routes: common, Readings: &readings, Now: s.now}
	if cfg.Caches.Tokens > 0 {
		if shared.Cache, err = jwtverify.NewCache(int64(cfg.Caches.Tokens)); err != nil {
			return nil, nil, err
		}
	}
	mixups := tenants.FindMixups(cfg.Tenants, cfg.Dir)
	required, others := mixups.SharedIssuers(), mixups.OthersIDs()
	var list []*tenants.Tenant
	for i := range cfg.Tenants {
		shared.RequireTenantID, shared.OthersIDs = required[cfg.Tenants[i].ID], others[cfg.Tenants[i].ID]
		t, err := cfg.Tenants[i].Build(cfg.Dir, shared)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, t)
	}
	sel := cfg.TenantSelection
	directory, err := tenants.NewDirectory(tenants.Selection{Header: sel.Header, Extension: sel.ContextExtension, Default: sel.Default}, list)
	if err != nil {
		return nil, nil, err
	}
	h := cfg.IdentityHeaders
	c := extauthz.Config{
		Tenants: directory, Policy: engine, StripToken: !cfg.ForwardToken,
		Headers: extauthz.IdentityHeaders{UserID: h.UserID, TenantID: h.TenantID, WorkspaceID: h.WorkspaceID, Roles: h.Roles, Scopes: h.Scopes, Claims: h.Claims},
	}
	done := directory.Close
	if cfg.Revocation.Enabled() {
		revoked := revocation.Open(context.Background(), revocation.Config{File: cfg.Revocation.File, Deny: cfg.Revocation.Deny(), Clock: s.now})
		c.Revocations = revoked
		done = func() { directory.Close(); revoked.Close() }
	}
	authorizer, err := extauthz.NewAuthorizer(c)
	return authorizer, done, err
}

func (s *snapshots) engine(cfg *config.Config) (*policy.Engine, error) {
	name := fmt.Sprint(cfg.Policy.Entrypoint, cfg.Policy.Paths)
	if engine := s.engines[name]; engine != nil {
		return engine, nil
	}
	engine, err := policy.New(context.Background(), policy.Config{
		Entrypoint: cfg.Policy.Entrypoint, Paths: cfg.Policy.Paths, DecisionCache: int64(cfg.Caches.Decisions),
		Timeout: 30 * time.Second, // the machine may be busy
	})
	s.engines[name] = engine
	return engine, err
}

func (s *snapshots) ask(r request) (oracle.Answer, error) {
	response, err := s.server.Check(context.Background(), r.check())
	if err != nil {
		return oracle.Answer{}, fmt.Errorf("a gRPC error: %w", err)
	}
	return answerOf(response)
}

// check is the request as Envoy writes it with encode_raw_headers.
func (r request) check() *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{Method: r.Method, Host: r.Host, Path: r.Path, Scheme: "https", Protocol: "HTTP/2", HeaderMap: &corev3.HeaderMap{}}
	for _, h := range r.Headers {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: http}, ContextExtensions: r.Extensions,
	}}
}

// answerOf reads an answer as Envoy does, and refuses one that Envoy could
// understand in another way.
func answerOf(response *authv3.CheckResponse) (a oracle.Answer, err error) {
	code := codes.Code(response.GetStatus().GetCode()) // #nosec G115 -- a status code
	a.Reason = response.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	ok, denied := response.GetOkResponse(), response.GetDeniedResponse()
	switch {
	case code == codes.OK && ok != nil:
		a.Allowed, a.Status, a.Set = true, 200, map[string]string{}
		for _, h := range ok.GetHeaders() {
			name := h.GetHeader().GetKey()
			//lint:ignore SA1019 deprecated, and still what Envoys read first
			if _, twice := a.Set[name]; twice || h.GetAppend().GetValue() || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				return a, fmt.Errorf("the header %s is set twice, or beside the client's", name)
			}
			if slices.Contains(ok.GetHeadersToRemove(), name) {
				return a, fmt.Errorf("the header %s is set and removed", name)
			}
			a.Set[name] = h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
		}
		a.Removed = slices.Compact(slices.Sorted(slices.Values(ok.GetHeadersToRemove())))
	case code != codes.OK && denied != nil:
		a.Status = int(denied.GetStatus().GetCode())
		if a.Status < 400 && a.Status != 302 || !strings.Contains(denied.GetBody(), `"reason":"`+a.Reason+`"`) {
			return a, fmt.Errorf("a denial with the status %d and the body %s", a.Status, denied.GetBody())
		}
	default:
		return a, fmt.Errorf("neither an allow nor a denial: %v", response)
	}
	return a, nil
}
