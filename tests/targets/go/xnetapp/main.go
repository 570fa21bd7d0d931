// Command xnetapp links both ends of golang.org/x/net/http2.
package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	plain := &http2.Transport{
		AllowHTTP: true,
		DialTLS: func(network, addr string, _ *tls.Config) (net.Conn, error) {
			return net.Dial(network, addr)
		},
	}
	client := &http.Client{Transport: plain}
	go func() {
		_, err := client.Get("http://" + listener.Addr().String())
		fmt.Println(err)
	}()
	server := &http2.Server{}
	for {
		accepted, err := listener.Accept()
		if err != nil {
			return
		}
		go server.ServeConn(accepted, &http2.ServeConnOpts{})
	}
}
