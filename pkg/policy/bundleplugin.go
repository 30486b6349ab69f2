package policy

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/download"
	"github.com/open-policy-agent/opa/v1/plugins"
	bundleplugin "github.com/open-policy-agent/opa/v1/plugins/bundle"
)

// bundlesPlugin is the name of our plugin on OPA's manager. It stands where
// OPA's bundle plugin would, and uses its configuration and its downloaders.
// OPA's own writes what it downloads into a store and compiles it without our
// capabilities, library and schema, and nothing can refuse an activation.
const bundlesPlugin = "ussoauthz_bundles"

// factory makes the plugin for the bundles that the configuration names, or
// that discovery finds.
type factory struct{ b *Bundles }

// Validate implements plugins.Factory.
func (f factory) Validate(m *plugins.Manager, raw []byte) (any, error) {
	c, err := bundleplugin.NewConfigBuilder().WithBytes(raw).WithServices(m.Services()).WithKeyConfigs(m.PublicKeys()).Parse()
	if err != nil {
		return nil, err
	}
	for name, source := range c.Bundles {
		if problem := sourceProblem(name, source); problem != "" {
			return nil, fmt.Errorf("bundles.%s: %s", name, problem)
		}
	}
	return c, nil
}

// New implements plugins.Factory.
func (f factory) New(m *plugins.Manager, c any) plugins.Plugin {
	return &bundlePlugin{b: f.b, manager: m, config: c.(*bundleplugin.Config), loaders: map[string]*bundleLoader{}}
}

// bundlePlugin runs one downloader for each bundle. OPA calls its methods one
// after the other.
type bundlePlugin struct {
	b       *Bundles
	manager *plugins.Manager
	config  *bundleplugin.Config
	loaders map[string]*bundleLoader
}

// Start implements plugins.Plugin.
func (p *bundlePlugin) Start(ctx context.Context) error {
	p.b.expect(ctx, p.names())
	for name, source := range p.config.Bundles {
		p.loaders[name] = p.loader(name, source)
	}
	for _, l := range p.loaders {
		l.fromDisk(ctx)
	}
	for _, l := range p.loaders {
		l.downloader.Start(ctx)
	}
	return nil
}

// Stop implements plugins.Plugin.
func (p *bundlePlugin) Stop(ctx context.Context) {
	for _, l := range p.loaders {
		l.downloader.Stop(ctx)
	}
}

// Reconfigure implements plugins.Plugin: discovery found another configuration.
func (p *bundlePlugin) Reconfigure(ctx context.Context, c any) {
	before := p.config.Bundles
	p.config = c.(*bundleplugin.Config)
	for name, l := range p.loaders {
		if !reflect.DeepEqual(before[name], p.config.Bundles[name]) {
			l.downloader.Stop(ctx)
			delete(p.loaders, name)
		}
	}
	p.b.expect(ctx, p.names())
	for name, source := range p.config.Bundles {
		if p.loaders[name] == nil {
			p.loaders[name] = p.loader(name, source)
			p.loaders[name].fromDisk(ctx)
			p.loaders[name].downloader.Start(ctx)
		}
	}
}

func (p *bundlePlugin) names() map[string]bool {
	names := map[string]bool{}
	for name := range p.config.Bundles {
		names[name] = true
	}
	return names
}

// bundleLoader downloads one bundle. Its fields are used by the downloader's
// goroutine alone, once that runs.
type bundleLoader struct {
	b          *Bundles
	name       string
	source     *bundleplugin.Source
	downloader bundleplugin.Loader
	etag       string // of the download that was taken last
}

func (p *bundlePlugin) loader(name string, source *bundleplugin.Source) *bundleLoader {
	l := &bundleLoader{b: p.b, name: name, source: source}
	client := p.manager.Client(source.Service)
	if strings.EqualFold(client.Config().Type, "oci") {
		l.downloader = download.NewOCI(source.Config, client, source.Resource, filepath.Join(p.b.folder(), "oci")).
			WithCallback(l.update).
			WithBundleVerificationConfig(source.Signing).
			WithSizeLimitBytes(source.SizeLimitBytes).
			WithBundlePersistence(source.Persist).
			WithBundleParserOpts(p.manager.ParserOptions())
		return l
	}
	l.downloader = download.New(source.Config, client, source.Resource).
		WithCallback(l.update).
		WithBundleVerificationConfig(source.Signing).
		WithSizeLimitBytes(source.SizeLimitBytes).
		WithBundlePersistence(source.Persist).
		WithBundleName(name).
		WithBundleParserOpts(p.manager.ParserOptions())
	return l
}

// update is told of each download. After an error the downloader tries again
// soon, and must not ask for what is newer than what failed.
func (l *bundleLoader) update(ctx context.Context, u download.Update) error {
	err := l.apply(ctx, u)
	if err != nil && ctx.Err() == nil { // not an end that we asked for
		l.b.failed(l.name, err)
		l.downloader.SetCache(l.etag)
	}
	return err
}

func (l *bundleLoader) apply(ctx context.Context, u download.Update) error {
	if u.Error != nil {
		return u.Error
	}
	l.b.tell(l.name, func(s *BundleState) { s.Checked = time.Now() })
	if u.Bundle == nil { // not modified
		l.b.tell(l.name, func(s *BundleState) { s.Error = "" })
		return nil
	}
	l.b.tell(l.name, func(s *BundleState) { s.Downloads++ })
	var raw []byte
	if l.source.Persist {
		var err error
		if raw, err = io.ReadAll(u.Raw); err != nil {
			return err
		}
	}
	if err := l.b.take(ctx, l.name, u.Bundle, raw); err != nil {
		return err
	}
	l.etag = u.ETag
	return nil
}
