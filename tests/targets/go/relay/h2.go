//go:build go1.24
// +build go1.24

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

// net/http's own HTTP/2, which speaks it without TLS since Go 1.24.
func init() {
	var both http.Protocols
	both.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &both}}
	register("h2", protocol{
		serve: func(l net.Listener, handler func(context.Context, string) error) {
			server := &http.Server{
				Handler:   serveHTTP(handler),
				Protocols: &both,
				HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 1000},
			}
			fmt.Fprintln(os.Stderr, server.Serve(l))
		},
		call: callHTTP(client),
	})
}
