// Command load sends GET requests to one URL over keep-alive connections and prints one
// JSON object: requests done, errors, seconds, and latencies in nanoseconds.
//
// With -rate 0 each connection sends its next request when the last is answered. With a
// rate, requests start on a fixed schedule whatever the answers do (open loop), and a
// latency counts from the time a request was due, so that waiting is not hidden.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

type worker struct {
	conn      net.Conn
	reader    *bufio.Reader
	request   []byte
	latencies []int64
	done      int64
	errors    int64
}

// once sends one request and reads one response. Hand-written, so that the generator
// takes little of the two cores it shares with what is measured.
func (w *worker) once() error {
	if _, err := w.conn.Write(w.request); err != nil {
		return err
	}
	length, good := -1, false
	for first := true; ; first = false {
		line, err := w.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first {
			good = bytes.HasPrefix(line, []byte("HTTP/1.1 200"))
		}
		if len(line) <= 2 {
			break
		}
		if name := []byte("content-length:"); len(line) > len(name) &&
			bytes.EqualFold(line[:len(name)], name) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			if err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("the response has no Content-Length")
	}
	if _, err := w.reader.Discard(length); err != nil {
		return err
	}
	if !good {
		return fmt.Errorf("the status is not 200")
	}
	return nil
}

func (w *worker) timed(due time.Time) {
	if err := w.once(); err != nil {
		w.errors++
		return
	}
	w.done++
	w.latencies = append(w.latencies, time.Since(due).Nanoseconds())
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "load: %s: %v\n", what, err)
	os.Exit(1)
}

func main() {
	target := flag.String("url", "", "what to GET")
	connections := flag.Int("connections", 16, "keep-alive connections")
	rate := flag.Float64("rate", 0, "requests per second over all connections; 0: as many as possible")
	seconds := flag.Float64("seconds", 3, "how long")
	flag.Parse()
	parsed, err := url.Parse(*target)
	if err != nil || parsed.Host == "" {
		fail("bad -url "+*target, err)
	}
	request := []byte("GET " + parsed.RequestURI() + " HTTP/1.1\r\nHost: " + parsed.Host +
		"\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n")
	workers := make([]*worker, *connections)
	for i := range workers {
		conn, err := net.Dial("tcp", parsed.Host)
		if err != nil {
			fail("connect", err)
		}
		workers[i] = &worker{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), request: request}
	}
	start := time.Now()
	end := start.Add(time.Duration(*seconds * float64(time.Second)))
	var group sync.WaitGroup
	for i, w := range workers {
		group.Add(1)
		go func(i int, w *worker) {
			defer group.Done()
			if *rate == 0 {
				for now := time.Now(); now.Before(end) && w.errors == 0; now = time.Now() {
					w.timed(now)
				}
				return
			}
			gap := time.Duration(float64(*connections) / *rate * float64(time.Second))
			due := start.Add(gap * time.Duration(i) / time.Duration(*connections))
			for ; due.Before(end) && w.errors == 0; due = due.Add(gap) {
				time.Sleep(time.Until(due))
				w.timed(due)
			}
		}(i, w)
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	var all []int64
	var done, errors int64
	for _, w := range workers {
		all = append(all, w.latencies...)
		done, errors = done+w.done, errors+w.errors
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) int64 {
		if len(all) == 0 {
			return 0
		}
		return all[int(share*float64(len(all)-1))]
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"done": done, "errors": errors, "seconds": elapsed,
		"p50": at(0.5), "p99": at(0.99), "p999": at(0.999),
	})
}
