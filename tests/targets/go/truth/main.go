// Command truth is a net/http service that calls another one in many ways, and tells with a
// header for which request it does. Written for Go 1.15 and all later ones.
//
//	/leaf                       a few bytes
//	/call?id=X&mode=M&n=N       N calls of -next's /leaf, each with X-Truth-Parent: X
//	/pid                        its process id
//
// Modes: seq, ctx (seq with the request's context), par, asks (the same), parctx, chain2, chain3, chain5
// (goroutines that start goroutines), pool (a worker pool, with the request's context).
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"net"
	"net/http"
	"os"
	"strconv"
)

var (
	client = &http.Client{Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 64}}
	jobs   = make(chan func())
	next   string
)

func call(ctx context.Context, id string, i int) error {
	request, err := http.NewRequestWithContext(ctx, "GET", next+"/leaf", nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Truth-Id", id+"-"+strconv.Itoa(i))
	request.Header.Set("X-Truth-Parent", id)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(ioutil.Discard, response.Body)
	return err
}

// deep runs f on a goroutine that is so many goroutines away from this one.
func deep(levels int, f func()) {
	if levels == 0 {
		f()
		return
	}
	go deep(levels-1, f)
}

func perform(ctx context.Context, mode, id string, n int) error {
	done := make(chan error, n)
	all := func(ctx context.Context, start func(func())) error {
		for i := 0; i < n; i++ {
			i := i
			start(func() { done <- call(ctx, id, i) })
		}
		var first error
		for i := 0; i < n; i++ {
			if err := <-done; err != nil {
				first = err
			}
		}
		return first
	}
	none := context.Background()
	switch mode {
	case "seq":
		return all(none, func(f func()) { f() })
	case "ctx":
		return all(ctx, func(f func()) { f() })
	case "par", "asks":
		return all(none, func(f func()) { go f() })
	case "parctx":
		return all(ctx, func(f func()) { go f() })
	case "chain2":
		return all(none, func(f func()) { deep(2, f) })
	case "chain3":
		return all(none, func(f func()) { deep(3, f) })
	case "chain5":
		return all(none, func(f func()) { deep(5, f) })
	case "pool":
		return all(ctx, func(f func()) { jobs <- f })
	}
	return fmt.Errorf("unknown mode %q", mode)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&next, "next", "", "base URL that /call calls")
	flag.Parse()
	for i := 0; i < 4; i++ {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	http.HandleFunc("/leaf", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "leaf") })
	http.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getpid()) })
	http.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		n, _ := strconv.Atoi(query.Get("n"))
		if err := perform(r.Context(), query.Get("mode"), query.Get("id"), n); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, n)
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
