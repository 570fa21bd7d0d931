// Command target is the plain net/http service of the end-to-end tests and benchmarks.
//
//	/hello            a few bytes
//	/hop              GET /hello of -next over keep-alive, then its answer
//	/slow?ms=N        answers after N milliseconds
//	/big?bytes=N      N bytes with Content-Length; with &chunked=1 without
//	/upload           reads and drops the body, answers with its length
//	/status?code=N    answers with that status
//
// With -log it prints one line per request: path, start and end in epoch nanoseconds,
// as the handler saw them.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

func number(r *http.Request, name string) int64 {
	value, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return value
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	next := flag.String("next", "", "base URL that /hop calls")
	logged := flag.Bool("log", false, "print one line per request")
	flag.Parse()

	client := &http.Client{Transport: &http.Transport{
		MaxIdleConns: 512, MaxIdleConnsPerHost: 256, DisableCompression: true,
	}}
	mux := http.NewServeMux()
	hello := []byte("hello from a service that knows nothing of tracing\n")
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(hello) })
	mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, *next+"/hello", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(w, response.Body)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		fmt.Fprintln(w, "done")
	})
	block := make([]byte, 64<<10)
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		left := number(r, "bytes")
		if r.URL.Query().Get("chunked") == "" {
			w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
		}
		for left > 0 {
			part := block
			if left < int64(len(part)) {
				part = part[:left]
			}
			if _, err := w.Write(part); err != nil {
				return
			}
			left -= int64(len(part))
		}
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		length, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, length)
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(int(number(r, "code")))
	})

	var handler http.Handler = mux
	if *logged {
		var printing sync.Mutex
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			mux.ServeHTTP(w, r)
			end := time.Now()
			printing.Lock()
			defer printing.Unlock()
			fmt.Println(r.URL.RequestURI(), start.UnixNano(), end.UnixNano())
		})
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}
