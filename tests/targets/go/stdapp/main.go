// Command stdapp links the types of the standard library whose layout the tracer reads:
// both ends of HTTP/1 and of HTTP/2, contexts, TLS. It builds with every Go since 1.15.
package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
	"unsafe"
)

type key struct{}

func handler(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), key{}, "v"), 5*time.Second)
	defer cancel()
	if r.URL.Path == "/sql" {
		db, err := sql.Open("none", "")
		if err == nil {
			_, err = db.ExecContext(ctx, "SELECT 1")
		}
		fmt.Fprintln(w, err)
		return
	}
	if r.URL.Path == "/leaf" {
		_, _ = io.WriteString(w, "leaf\n")
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Host+"/leaf", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(w, resp.Body)
}

// types prints what the type words of interfaces hold: "name address" a line.
func types() {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), key{}, 1), time.Hour)
	defer cancel()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	for _, value := range []interface{}{
		inner, ctx, context.WithValue(ctx, key{}, 2), &net.TCPConn{}, &net.UnixConn{}, &tls.Conn{},
	} {
		fmt.Printf("%T %d\n", value, (*[2]uintptr)(unsafe.Pointer(&value))[0])
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "types" {
		types()
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: http.HandlerFunc(handler)}
	if len(os.Args) == 3 { // a certificate and its key: HTTP/2
		err = server.ServeTLS(listener, os.Args[1], os.Args[2])
	} else {
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
