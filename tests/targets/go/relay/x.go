package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// golang.org/x/net/http2.
func init() {
	client := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLS: func(network, address string, _ *tls.Config) (net.Conn, error) {
			return net.Dial(network, address)
		},
	}}
	register("x", protocol{
		serve: func(l net.Listener, handler func(context.Context, string) error) {
			both := h2c.NewHandler(serveHTTP(handler), &http2.Server{MaxConcurrentStreams: 1000})
			fmt.Fprintln(os.Stderr, http.Serve(l, both))
		},
		call: callHTTP(client),
	})
}
