//go:build servers

package servers

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/ussoio/ussoauthz/internal/testkit"
)

// Servers that need Maven, or Debian's Ruby and PHP.
func TestSlowServers(t *testing.T) {
	old, spring3 := installSpring(t, "spring27"), installSpring(t, "spring3")
	judge(t, []*server{
		old("spring27"),
		old("spring27-ant", "--spring.mvc.pathmatch.matching-strategy=ant_path_matcher", "--app.suffixes=true"),
		spring3("spring3"),
		puma(t, "sinatra"), puma(t, "rails"), php(t),
	})
}

// installSpring builds an application with Maven and returns a maker of
// servers by their settings.
func installSpring(t *testing.T, name string) func(column string, settings ...string) *server {
	t.Helper()
	const advice = "install a JDK 17 and Maven (Debian: openjdk-17-jdk-headless, maven)"
	java, mvn := testkit.Tool(t, "java", advice), testkit.Tool(t, "mvn", advice)
	var sources []string
	if err := filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(name, path)
			sources = append(sources, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	dir := testkit.Installed(t, cache(name), name, sources, func(dir string) {
		testkit.Run(t, dir, mvn, "--quiet", "--batch-mode", "-Dmaven.repo.local="+absolute(t, cache("maven")), "package")
	})
	return func(column string, settings ...string) *server {
		return &server{name: column, command: func(_ testing.TB, _, port string) (string, []string, []string) {
			return java, append([]string{
				"-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", filepath.Join(dir, "target", "app.jar"),
				"--spring.main.banner-mode=off", "--server.address=127.0.0.1", "--server.port=" + port,
			}, settings...), nil
		}}
	}
}

// puma runs ruby/NAME.ru.
func puma(t *testing.T, name string) *server {
	t.Helper()
	path := testkit.Tool(t, "puma", "install Debian's ruby-sinatra, ruby-railties and puma, or run make servers as root")
	return &server{name: name, command: func(t testing.TB, dir, port string) (string, []string, []string) {
		args := []string{"--quiet", "--environment", "production", "--bind", "tcp://127.0.0.1:" + port, "--dir", dir, absolute(t, "ruby/"+name+".ru")}
		return path, args, []string{"RAILS_ENV=production", "APP_ENV=production"}
	}}
}

// php runs PHP's own server; a production one decodes queries and headers by
// the same code.
func php(t *testing.T) *server {
	t.Helper()
	path := testkit.Tool(t, "php", "install Debian's php-cli, or run make servers as root")
	return &server{name: "php", command: func(t testing.TB, dir, port string) (string, []string, []string) {
		return path, []string{"-S", "127.0.0.1:" + port, "-t", dir, absolute(t, "php/index.php")}, nil
	}}
}
