package revocation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ussoio/ussoauthz/internal/revocation"
	"github.com/ussoio/ussoauthz/internal/testkit/redistest"
	"github.com/ussoio/ussoauthz/pkg/jwtverify"
	"github.com/ussoio/ussoauthz/pkg/tenants"
)

const (
	redisKey     = "ussoauthz:revocations"
	redisChannel = "ussoauthz:revocations/0"
)

// follow opens a list of a Redis, by the real clock.
func follow(t *testing.T, url string, change func(*revocation.Config)) (*revocation.List, *journal) {
	t.Helper()
	log := &journal{}
	cfg := revocation.Config{Redis: revocation.Redis{URL: url}, Log: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&cfg)
	}
	l := revocation.Open(t.Context(), cfg)
	t.Cleanup(l.Close)
	return l, log
}

func entry(id string) revocation.Entry {
	return revocation.Entry{Tenant: "acme", ID: id, Expires: time.Now().Add(time.Hour).Truncate(time.Second)}
}

func line(t *testing.T, e revocation.Entry) string {
	t.Helper()
	text, err := e.Line()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, s *redistest.Server, e revocation.Entry) {
	t.Helper()
	if err := (revocation.Redis{URL: s.URL}).Write(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func revokes(l *revocation.List, id string) bool {
	is, err := l.Revoked("acme", &jwtverify.Identity{ID: id, UserID: "u"})
	return is && err == nil
}

func available(l *revocation.List) bool { return l.States()[0].Available }

// What is written is in force on all replicas within a second, and what was
// written before they started as well. Members and messages are the entry's
// line, scores its end.
func TestRedisIsFollowed(t *testing.T) {
	s := redistest.Start(t)
	write(t, s, entry("before"))
	a, _ := follow(t, s.URL, nil)
	b, _ := follow(t, s.URL, nil)
	for _, l := range []*revocation.List{a, b} {
		if !available(l) || !revokes(l, "before") || revokes(l, "after") {
			t.Fatalf("%+v", l.States())
		}
	}
	write(t, s, entry("after"))
	start := time.Now()
	eventually(t, "it is not revoked", func() bool { return revokes(a, "after") && revokes(b, "after") && revokes(a, "before") })
	if took := time.Since(start); took > time.Second {
		t.Errorf("in force after %v", took)
	}
}

// A file and a Redis revoke together.
func TestRedisAndFile(t *testing.T) {
	s := redistest.Start(t)
	write(t, s, entry("r"))
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	if err := revocation.Append(path, entry("f")); err != nil {
		t.Fatal(err)
	}
	l, _ := follow(t, s.URL, func(c *revocation.Config) { c.File, c.Deny = path, true })
	if !revokes(l, "r") || !revokes(l, "f") || len(l.States()) != 2 {
		t.Errorf("%+v", l.States())
	}
	s.Kill()
	eventually(t, "nobody notices", func() bool { return !l.States()[1].Available })
	if !revokes(l, "r") || !revokes(l, "f") {
		t.Errorf("what is known is not in force: %+v", l.States())
	}
	if _, err := l.Revoked("acme", &jwtverify.Identity{ID: "x", UserID: "u"}); err != revocation.ErrUnavailable {
		t.Errorf("one source alone is enough: %v", err)
	}
}

// A Redis that is killed takes nothing out of force; one that is back is heard
// again within a second or two, with what was written meanwhile.
func TestRedisKilled(t *testing.T) {
	for _, deny := range []bool{false, true} {
		s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		write(t, s, entry("known"))
		l, log := follow(t, s.URL, func(c *revocation.Config) { c.Deny = deny })
		s.Kill()
		eventually(t, "nobody notices", func() bool { return !available(l) })
		want := error(nil)
		if deny {
			want = revocation.ErrUnavailable
		}
		if is, err := l.Revoked("acme", &jwtverify.Identity{ID: "other", UserID: "u"}); is || err != want {
			t.Errorf("deny %v: %v %v", deny, is, err)
		}
		if !revokes(l, "known") {
			t.Errorf("deny %v: what is known is not in force", deny)
		}
		s.Start()
		write(t, s, entry("meanwhile"))
		eventually(t, "it is not heard again", func() bool { return available(l) && revokes(l, "meanwhile") && revokes(l, "known") })
		eventually(t, "it is not told", func() bool { return strings.Contains(log.String(), "revocations are available again") })
		if l.States()[0].Error != "" {
			t.Errorf("%+v\n%s", l.States(), log)
		}
	}
}

// A Redis that lost its data gives no token back, until somebody says so.
func TestRedisLosesItsData(t *testing.T) {
	s := redistest.Start(t)
	write(t, s, entry("known"))
	l, log := follow(t, s.URL, func(c *revocation.Config) { c.Redis.Resync = time.Second })
	s.Kill()
	eventually(t, "nobody notices", func() bool { return !available(l) })
	s.Start()
	eventually(t, "it is not heard again", func() bool { return available(l) })
	first := l.States()[0].LastSync
	eventually(t, "it does not read again", func() bool { return l.States()[0].LastSync.After(first) })
	eventually(t, "it is not told", func() bool { return strings.Contains(log.String(), "Redis lost revocations") })
	if !revokes(l, "known") {
		t.Errorf("%+v\n%s", l.States(), log)
	}
	s.Do("publish", redisChannel, revocation.Resync)
	eventually(t, "it stays for ever", func() bool { return !revokes(l, "known") })
}

// A Redis that keeps its connections and answers nobody is found out.
func TestRedisPaused(t *testing.T) {
	s := redistest.Start(t)
	l, _ := follow(t, s.URL, nil)
	s.Pause()
	start := time.Now()
	eventually(t, "nobody notices", func() bool { return !available(l) })
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("after %v", took)
	}
	s.Resume()
	write(t, s, entry("new"))
	eventually(t, "it is not heard again", func() bool { return available(l) && revokes(l, "new") })
}

// A service starts without its Redis, and finds it later.
func TestRedisIsNotThere(t *testing.T) {
	s := redistest.New(t)
	start := time.Now()
	l, _ := follow(t, s.URL, func(c *revocation.Config) { c.Deny = true })
	if took := time.Since(start); took > 5*time.Second || available(l) {
		t.Errorf("after %v: %+v", took, l.States())
	}
	if _, err := l.Revoked("acme", &jwtverify.Identity{ID: "x", UserID: "u"}); err != revocation.ErrUnavailable {
		t.Errorf("%v", err)
	}
	s.Start()
	eventually(t, "it is not found", func() bool { return available(l) })
	if err := (revocation.Redis{URL: "unix:///nowhere/redis"}).Write(t.Context(), entry("x")); err == nil {
		t.Error("writing to nobody is no error")
	}
}

// What is written or removed without a word is found by reading all again.
func TestRedisLostMessage(t *testing.T) {
	s := redistest.Start(t)
	l, _ := follow(t, s.URL, func(c *revocation.Config) { c.Redis.Resync = time.Second })
	silent := line(t, entry("silent"))
	s.Do("zadd", redisKey, time.Now().Add(time.Hour).Unix(), silent)
	eventually(t, "it is not found", func() bool { return revokes(l, "silent") })
	s.Do("zrem", redisKey, silent)
	eventually(t, "it is not taken back", func() bool { return !revokes(l, "silent") })
}

// Who removes an entry and says so takes the revocation back at once.
func TestRedisRemoval(t *testing.T) {
	s := redistest.Start(t)
	e := entry("wrong")
	write(t, s, e)
	write(t, s, entry("right"))
	l, _ := follow(t, s.URL, nil)
	s.Do("zrem", redisKey, line(t, e))
	s.Do("publish", redisChannel, revocation.Resync)
	eventually(t, "it is not taken back", func() bool { return !revokes(l, "wrong") })
	if !revokes(l, "right") {
		t.Error("another is taken back too")
	}
}

// A writer lets go of what expired, and readers take none of it.
func TestRedisExpired(t *testing.T) {
	s := redistest.Start(t)
	past := time.Now().Add(-time.Hour)
	old := line(t, revocation.Entry{Tenant: "acme", ID: "old", Expires: past})
	s.Do("zadd", redisKey, past.Unix(), old)
	l, _ := follow(t, s.URL, nil)
	if n := l.States()[0].Entries; n != 0 {
		t.Errorf("%d expired entries are in force", n)
	}
	write(t, s, entry("new"))
	s.Do("eval", "if redis.call('zcard', KEYS[1]) ~= 1 then return redis.error_reply('ERR not trimmed') end return 1", 1, redisKey)
}

// Garbage takes nothing else out of force, and is counted.
func TestRedisGarbage(t *testing.T) {
	s := redistest.Start(t)
	write(t, s, entry("good"))
	s.Do("zadd", redisKey, "+inf", "garbage", "+inf", strings.Repeat("x", 1<<20), "+inf", `{"tenant":"acme"}`)
	l, log := follow(t, s.URL, nil)
	if st := l.States()[0]; !st.Available || st.Entries != 1 || st.Dropped != 3 || !revokes(l, "good") {
		t.Errorf("%+v", st)
	}
	s.Do("publish", redisChannel, "\x00")
	told := func() int { return strings.Count(log.String(), "a revocation is not in force") }
	eventually(t, "it does not count, or is not told", func() bool { return l.States()[0].Dropped == 4 && told() >= 4 })
	if !available(l) || told() != 4 {
		t.Errorf("%+v\n%s", l.States(), log)
	}
	s.Do("del", redisKey)
	s.Do("set", redisKey, "no set")
	s.Do("publish", redisChannel, revocation.Resync)
	eventually(t, "a key of another type is fine", func() bool { return !available(l) && strings.Contains(l.States()[0].Error, "WRONGTYPE") })
	if !revokes(l, "good") {
		t.Error("what is known is not in force")
	}
}

// A wrong password is told and not shown; the file is read again each time.
func TestRedisPassword(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "s3cret-right")
	file := filepath.Join(t.TempDir(), "password")
	set := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("s3cret-wrong")
	l, log := follow(t, s.URL, func(c *revocation.Config) { c.Redis.PasswordFile = file })
	if st := l.States()[0]; st.Available || !strings.Contains(st.Error, "WRONGPASS") {
		t.Errorf("%+v", st)
	}
	set("s3cret-right")
	eventually(t, "the new password is not taken", func() bool { return available(l) })
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("the log shows it: %s", log)
	}
	if err := (revocation.Redis{URL: s.URL, Password: tenants.NewSecret("s3cret-wrong")}).Write(t.Context(), entry("x")); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	if err := (revocation.Redis{URL: s.URL, Password: tenants.NewSecret("s3cret-right")}).Write(t.Context(), entry("x")); err != nil {
		t.Error(err)
	}
	eventually(t, "it is not revoked", func() bool { return revokes(l, "x") })
}

// Whatever prints a list or its configuration prints no password.
func TestRedisPasswordIsNotPrinted(t *testing.T) {
	const password = "s3cret-right"
	cfg := revocation.Config{Redis: revocation.Redis{URL: "unix:///nowhere/redis", Username: "u", Password: tenants.NewSecret(password)}}
	l := revocation.Open(t.Context(), cfg)
	defer l.Close()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%t"} {
		for name, value := range map[string]any{"the list": l, "its configuration": cfg, "a pointer to it": &cfg, "of Redis": cfg.Redis, "a list of them": []revocation.Redis{cfg.Redis}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, password) || strings.Contains(strings.ToLower(strings.ReplaceAll(text, " ", "")), hex.EncodeToString([]byte(password))) {
				t.Errorf("%s by %s: %s", name, verb, text)
			}
		}
	}
}

// TLS is checked both ways.
func TestRedisTLS(t *testing.T) {
	dir, port := t.TempDir(), redistest.FreePort(t)
	cert, key := certificate(t, dir)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	good := revocation.Redis{URL: "rediss://127.0.0.1:" + port + "/0", CAFile: cert, CertFile: cert, KeyFile: key}
	if faults := good.Check(dir); len(faults) > 0 {
		t.Fatal(faults)
	}
	l, _ := follow(t, "", func(c *revocation.Config) { c.Redis = good })
	if err := good.Write(t.Context(), entry("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not revoked", func() bool { return revokes(l, "x") })
	stranger, _ := follow(t, "", func(c *revocation.Config) { c.Redis = revocation.Redis{URL: good.URL} })
	if st := stranger.States()[0]; st.Available || !strings.Contains(st.Error, "certificate") {
		t.Errorf("a stranger's certificate: %+v", st)
	}
	nobody, _ := follow(t, "", func(c *revocation.Config) { c.Redis = revocation.Redis{URL: good.URL, CAFile: cert} })
	if available(nobody) {
		t.Error("no certificate of the client is asked for")
	}
}

// Only a server on this machine is asked without TLS, however its name is
// written; another where that is wanted.
func TestRedisPlaintext(t *testing.T) {
	for url, local := range map[string]bool{
		"redis://127.0.0.1": true, "redis://127.0.0.1:6380/1": true, "redis://[::1]": true, "redis://[::1]:6379": true,
		"redis://[::ffff:127.0.0.1]:6379": true, "redis://localhost:6379": true, "redis://LOCALHOST": true, "unix:///run/redis": true,
		"redis://redis.example": false, "redis://[2001:db8::1]:6379": false, "redis://127.0.0.1.example": false, "redis://10.0.0.1": false, "redis://[::]": false,
	} {
		for _, allowed := range []bool{false, true} {
			r := revocation.Redis{URL: url, AllowPlaintext: allowed}
			faults := r.Check("")
			if fine := local || allowed; fine != (len(faults) == 0) || !fine && !strings.Contains(faults[0].Problem, "write rediss://") {
				t.Errorf("%s, allowed %v: %v", url, allowed, faults)
			}
		}
	}
}

// certificate makes one of 127.0.0.1 that signed itself, for both sides.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A server that answers nonsense is unavailable, and ends nobody.
func TestRedisTalksNonsense(t *testing.T) {
	for _, answer := range []string{"*1\r\n:1\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "*-5\r\n", "$-9\r\n"} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := server.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(strings.Repeat(answer, 20))) // whoever asked may be gone
				_ = c.(*net.TCPConn).CloseWrite()
				_ = c.Close()
			}
		}()
		l, _ := follow(t, "redis://"+server.Addr().String(), nil)
		if available(l) || l.States()[0].Error == "" {
			t.Errorf("%q: %+v", answer, l.States())
		}
		l.Close()
		_ = server.Close()
		<-done
	}
}
