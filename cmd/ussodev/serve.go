package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// grace is how long requests in flight may take after ctx ended.
const grace = 2 * time.Second

// serve answers on the listeners until ctx ends, and says where once it does.
func serve(ctx context.Context, h http.Handler, listeners []net.Listener, log io.Writer) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
		fmt.Fprintf(log, "ussodev: listening on %s\n", l.Addr())
	}
	var fault error
	waiting := len(listeners)
	select {
	case <-ctx.Done():
	case fault = <-ended: // one listener alone is no service
		waiting--
	}
	// Not ctx: it has ended, and what is in flight may still finish.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		err = errors.Join(err, server.Close())
		fmt.Fprintln(log, "ussodev: stopping:", err)
	}
	for range waiting {
		<-ended
	}
	return fault
}
