package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pingEvery    = time.Second
	resyncEvery  = 30 * time.Second
	firstWait    = 10 * time.Second // of Open
	maxReading   = 2 * time.Minute
	pageSize     = 1000
	shortestWait = 50 * time.Millisecond // before another connection
	longestWait  = time.Second           // so that a Redis that is back is heard within a second
)

// follower keeps up with a Redis: it subscribes, reads the whole set, and then
// hears of what is written. It reads all again from time to time, since somebody
// may write without a word, and after each broken connection.
type follower struct {
	*source
	redis    Redis
	channel  string
	again    chan struct{} // the whole set is to be read
	caughtUp func()        // the first reading ended, or can't be

	// Of the goroutine that reads the set.
	server string        // that was read last; "": it did not tell
	known  bool          // any was read
	lost   map[key]value // what a server lost, see keepLost
	errs   int           // of the last reading
}

// followRedis begins to follow, and waits for the first outcome.
func (l *List) followRedis(ctx context.Context) {
	settled := make(chan struct{})
	f := &follower{
		source: l.add("redis"), redis: l.cfg.Redis,
		again: make(chan struct{}, 1), caughtUp: sync.OnceFunc(func() { close(settled) }),
	}
	l.running.Go(func() { f.run(ctx) })
	select {
	case <-settled:
	case <-time.After(firstWait):
	case <-ctx.Done():
	}
}

// run makes one connection after the other until ctx ends.
func (f *follower) run(ctx context.Context) {
	wait := shortestWait
	for ctx.Err() == nil {
		err := f.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.available.Load() {
			wait = shortestWait // it was good for a while
		}
		f.unavailable(brief(err))
		f.caughtUp()
		// Replicas that lost the same server must not come back as one.
		pause(ctx, jittered(wait))
		wait = min(2*wait, longestWait)
	}
}

// jittered is from half of d to d.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } // #nosec G404 -- jitter, no secret

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// brief is an error in which a server may have written what it liked.
func brief(err error) error {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > 300 {
		return errors.New(strings.ToValidUTF8(text[:300], "") + "…")
	}
	return errors.New(text)
}

// session follows over one client, until something breaks or ctx ends.
func (f *follower) session(ctx context.Context) error {
	client, err := f.redis.connect()
	if err != nil {
		return err
	}
	if f.channel, err = f.redis.Channel(); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	sub := client.Subscribe(ctx, f.channel) // its error comes with the first answer
	var running sync.WaitGroup
	defer running.Wait()
	defer end(nil)
	// Nobody is left waiting for an answer when one of the others gave up.
	running.Go(func() {
		<-ctx.Done()
		_, _ = sub.Close(), client.Close() // what they say of it helps nobody
	})
	// From here on no message is missed, so that what is read and what is heard
	// afterwards is everything.
	if err := attempt(func() error { return subscribed(ctx, sub) }); err != nil {
		return err
	}
	select {
	case <-f.again: // asked for in an earlier session, about another server maybe
	default:
	}
	heard := &listener{since: time.Now()}
	running.Go(func() { end(attempt(func() error { return f.listen(ctx, sub, heard) })) })
	running.Go(func() { end(attempt(func() error { return ping(ctx, sub, heard) })) })
	end(attempt(func() error { return f.reading(ctx, client) }))
	return context.Cause(ctx)
}

// listener knows when it last heard anything. It keeps to the monotonic clock: a
// wall clock that is set back would hide a connection that is dead.
type listener struct {
	since time.Time
	last  atomic.Int64 // nanoseconds after since
}

func (l *listener) heard() { l.last.Store(int64(time.Since(l.since))) }

func (l *listener) silence() time.Duration {
	return time.Since(l.since) - time.Duration(l.last.Load())
}

// attempt turns a panic into an error: the library trusts the shape of what a
// server answers.
func attempt(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the server's answer makes no sense: %v", r)
		}
	}()
	return do()
}

func subscribed(ctx context.Context, sub *redis.PubSub) error {
	answer, err := sub.ReceiveTimeout(ctx, waitsFor)
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	if _, ok := answer.(*redis.Subscription); !ok {
		return fmt.Errorf("subscribing was answered with %T", answer)
	}
	return nil
}

// listen takes messages until the connection breaks.
func (f *follower) listen(ctx context.Context, sub *redis.PubSub, heard *listener) error {
	told := 0
	for {
		answer, err := sub.Receive(ctx)
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		heard.heard()
		m, ok := answer.(*redis.Message)
		if !ok {
			continue // a pong
		}
		if err := f.message(m.Payload); err != nil {
			if told++; told <= maxErrors {
				f.cfg.Log.Error("a revocation is not in force", slog.String("channel", f.channel), slog.String("error", err.Error()))
			}
		}
	}
}

// message takes what was published: an entry, or that all is to be read again.
func (f *follower) message(text string) error {
	if text == Resync {
		select {
		case f.again <- struct{}{}:
		default: // it was asked for already
		}
		return nil
	}
	e, err := Parse([]byte(text))
	if err != nil {
		f.dropped.Add(1)
		return err
	}
	f.put(e)
	return nil
}

// ping finds out when a connection is broken that does not say so.
func ping(ctx context.Context, sub *redis.PubSub, heard *listener) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if silence := heard.silence(); silence > pingEvery*3/2 {
			return fmt.Errorf("no answer for %v", silence.Round(100*time.Millisecond))
		}
		if err := sub.Ping(ctx); err != nil {
			return fmt.Errorf("asking for a sign of life: %w", err)
		}
	}
}

// reading reads the whole set now, when somebody asks, and from time to time. It
// spends a small part of its time on it, however large the set.
func (f *follower) reading(ctx context.Context, client *redis.Client) error {
	server := serverID(ctx, client)
	keep := f.known && (server == "" || server != f.server)
	for {
		began := time.Now()
		if err := f.readAll(ctx, client, keep); err != nil {
			return err
		}
		keep, f.known, f.server = false, true, server
		f.caughtUp()
		took := time.Since(began)
		rest := time.NewTimer(jittered(max(f.every(), 100*took)))
		select {
		case <-rest.C:
		case <-f.again:
			f.lost = nil // who removed something knows what there is
			pause(ctx, 10*took)
		case <-ctx.Done():
		}
		rest.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (f *follower) every() time.Duration {
	if f.redis.Resync > 0 {
		return f.redis.Resync
	}
	return resyncEvery
}

// serverID tells one run of a server from another; "" where it does not say.
func serverID(ctx context.Context, client *redis.Client) string {
	text, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "" // a user without the right to ask: no fault
	}
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "run_id:"); ok {
			return id
		}
	}
	return ""
}

// readAll takes what the set holds. keep says that the server is another one
// than before.
func (f *follower) readAll(ctx context.Context, client *redis.Client, keep bool) error {
	ctx, cancel := context.WithTimeout(ctx, maxReading)
	defer cancel()
	f.begin()
	r, seen := f.newReading(), 0
	for cursor := uint64(0); ; {
		page, next, err := client.ZScan(ctx, f.redis.Key(), cursor, "", pageSize).Result()
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.redis.Key(), err)
		}
		seen += len(page) / 2
		f.page(r, page)
		// A set that grows meanwhile may show a member twice. Beyond that, all
		// that follows is beyond the bound.
		if cursor = next; cursor == 0 || seen > 2*f.cfg.MaxEntries {
			break
		}
	}
	f.reportLost(r.content, keep)
	if f.errs != r.errs && r.errs > maxErrors {
		f.cfg.Log.Error("more revocations are not in force", slog.String("key", f.redis.Key()), slog.Int("unreadable", r.errs))
	}
	f.errs = r.errs
	f.replace(r.content, r.beyond)
	return nil
}

// page takes members, each with its score behind it. The same faults again are
// no news.
func (f *follower) page(r *reading, page []string) {
	for i := 0; i+1 < len(page); i += 2 {
		if err := r.add([]byte(page[i])); err != nil && r.errs > f.errs && r.errs <= maxErrors {
			f.cfg.Log.Error("a revocation is not in force", slog.String("key", f.redis.Key()), slog.String("error", err.Error()))
		}
	}
}

// reportLost keeps in force what a server lost: one that starts without its data,
// or a replica that takes over before it had them all, must not give tokens back
// that were revoked. It ends with the entries, or when somebody asks for a
// resync.
func (f *follower) reportLost(content map[key]value, another bool) {
	if another {
		if f.lost == nil {
			f.lost = map[key]value{}
		}
		f.entries.Range(func(k key, v value) bool {
			if _, has := content[k]; !has {
				f.lost[k] = v
			}
			return true
		})
	}
	kept, deadline := 0, f.deadline()
	for k, v := range f.lost {
		_, has := content[k]
		if has || v.expires < deadline {
			delete(f.lost, k) // it is written again, or at its end
		} else if len(content) < f.cfg.MaxEntries {
			content[k] = v
			kept++
		}
	}
	if another && kept > 0 {
		f.cfg.Log.Warn("Redis lost revocations, which stay in force here until they expire", slog.Int("entries", kept))
	}
}
