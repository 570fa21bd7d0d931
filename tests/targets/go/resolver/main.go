// An HTTP server that looks up the name in its path, with Go's own resolver.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		found, err := resolver.LookupHost(ctx, strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, found)
	}))
}
