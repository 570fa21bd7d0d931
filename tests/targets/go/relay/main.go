// Command relay serves HTTP/1, HTTP/2 and gRPC, all without TLS, and for each request makes
// calls in the way that the request asks for.
//
//	relay -next BASE...     serves; prints "listening" and its addresses, one a protocol
//	relay -drive ...        makes requests of a relay and ends; see the flags
//
// Every request carries x-truth-id, its own name, and x-truth-parent, the name of the request
// that it is made for. A request's name is "MODE.CALLS.PROTOCOLS.NUMBER": its service makes
// CALLS calls of -next in the way of MODE, over PROTOCOLS in turn (PROTOCOLS is "+"-separated).
// Where NUMBER begins with "early" the headers are x-early-id and x-early-parent: who joins a
// connection of HTTP/2 midway does not know the names that were sent before.
//
// Written for Go 1.15 and all later ones, and any grpc-go; what a version lacks is not served.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// protocol is one way to serve and to call.
type protocol struct {
	serve func(net.Listener, func(context.Context, string) error)
	call  func(ctx context.Context, address, id, parent string) error
}

var (
	protocols = map[string]protocol{}
	names     []string
	next      = map[string]string{}
	jobs      = make(chan func())
	errNoWay  = errors.New("no such protocol")
)

func register(name string, p protocol) {
	protocols[name] = p
	names = append(names, name)
}

func call(ctx context.Context, how, id, parent string) error {
	p, ok := protocols[how]
	if !ok || next[how] == "" {
		return fmt.Errorf("%s: %w", how, errNoWay)
	}
	return p.call(ctx, next[how], id, parent)
}

// titles are the headers' names for a request of this name.
func titles(id string) (string, string) {
	if strings.Contains(id, ".early") {
		return "x-early-id", "x-early-parent"
	}
	return "x-truth-id", "x-truth-parent"
}

type key struct{ int }

// wrap is what middleware does to a context.
func wrap(ctx context.Context, layers int) (context.Context, func()) {
	var cancels []func()
	for i := 0; i < layers; i++ {
		ctx = context.WithValue(ctx, key{i}, i)
		var cancel func()
		if i%2 == 0 {
			ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
		} else {
			ctx, cancel = context.WithCancel(ctx)
		}
		cancels = append(cancels, cancel)
	}
	return ctx, func() {
		for _, cancel := range cancels {
			cancel()
		}
	}
}

func deep(levels int, f func()) {
	if levels == 0 {
		f()
		return
	}
	go deep(levels-1, f)
}

// handle makes the calls that the request named id asks for.
func handle(ctx context.Context, id string) error {
	parts := strings.Split(id, ".")
	if len(parts) < 4 {
		return nil
	}
	n, _ := strconv.Atoi(parts[1])
	ways := strings.Split(parts[2], "+")
	if n == 0 {
		return nil
	}
	done := make(chan error, n)
	all := func(ctx context.Context, start func(func())) error {
		for i := 0; i < n; i++ {
			i := i
			start(func() { done <- call(ctx, ways[i%len(ways)], fmt.Sprintf("leaf.0.-.%s:%d", id, i), id) })
		}
		var first error
		for i := 0; i < n; i++ {
			if err := <-done; err != nil {
				first = err
			}
		}
		return first
	}
	inline := func(f func()) { f() }
	parallel := func(f func()) { go f() }
	none := context.Background()
	switch parts[0] {
	case "ctx":
		return all(ctx, inline)
	case "none":
		return all(none, inline)
	case "wrapped":
		ctx, cancel := wrap(ctx, 6)
		defer cancel()
		return all(ctx, inline)
	case "par":
		return all(ctx, parallel)
	case "parnone":
		return all(none, parallel)
	case "chain":
		return all(ctx, func(f func()) { deep(3, f) })
	case "pool":
		return all(ctx, func(f func()) { jobs <- f })
	case "poolwrapped":
		ctx, cancel := wrap(ctx, 6)
		defer cancel()
		return all(ctx, func(f func()) { jobs <- f })
	case "poolnone":
		return all(none, func(f func()) { jobs <- f })
	}
	return fmt.Errorf("unknown mode %q", parts[0])
}

func serveHTTP(handler func(context.Context, string) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(ioutil.Discard, r.Body)
		id := r.Header.Get("x-truth-id")
		if id == "" {
			id = r.Header.Get("x-early-id")
		}
		if err := handler(r.Context(), id); err != nil {
			fmt.Fprintln(os.Stderr, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, "done")
	})
}

func callHTTP(client *http.Client) func(context.Context, string, string, string) error {
	return callOver("http", client)
}

func callOver(scheme string, client *http.Client) func(context.Context, string, string, string) error {
	return func(ctx context.Context, address, id, parent string) error {
		request, err := http.NewRequestWithContext(ctx, "GET", scheme+"://"+address+"/call", nil)
		if err != nil {
			return err
		}
		name, by := titles(id)
		request.Header.Set(name, id)
		request.Header.Set(by, parent)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if _, err = io.Copy(ioutil.Discard, response.Body); err == nil && response.StatusCode != 200 {
			err = errors.New(response.Status)
		}
		return err
	}
}

func init() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 256}}
	register("http1", protocol{
		serve: func(l net.Listener, handler func(context.Context, string) error) {
			fmt.Fprintln(os.Stderr, http.Serve(l, serveHTTP(handler)))
		},
		call: callHTTP(client),
	})
}

// whileEarly makes requests named early, as many at once, until a line comes on standard
// input. It says when all of them have been made once.
func whileEarly(how, modes, over string, calls, concurrency int) int64 {
	var bad, made int64
	var wait sync.WaitGroup
	stop := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(stop)
	}()
	ways := strings.Split(modes, ",")
	for i := 0; i < concurrency; i++ {
		i := i
		wait.Add(1)
		go func() {
			defer wait.Done()
			for number := i; ; number++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%s.%d.%s.early%d", ways[number%len(ways)], calls, over, number)
				if err := call(context.Background(), how, id, ""); err != nil {
					atomic.AddInt64(&bad, 1)
					fmt.Fprintln(os.Stderr, id, err)
					return
				}
				if atomic.AddInt64(&made, 1) == int64(2*concurrency*len(ways)) {
					fmt.Println("early")
				}
			}
		}()
	}
	wait.Wait()
	return bad
}

// drive makes requests of the relay at next.
func drive(how, modes, over, tag string, requests, calls, concurrency int, warm bool, early bool) int {
	var bad, at int64
	if early {
		bad = whileEarly(how, modes, over, calls, concurrency)
	} else if warm {
		if err := call(context.Background(), how, "leaf.0.-.warm", ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	var wait sync.WaitGroup
	ways := strings.Split(modes, ",")
	for i := 0; i < concurrency; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				number := int(atomic.AddInt64(&at, 1))
				if number > requests {
					return
				}
				id := fmt.Sprintf("%s.%d.%s.%s%d", ways[number%len(ways)], calls, over, tag, number)
				if err := call(context.Background(), how, id, ""); err != nil {
					if atomic.AddInt64(&bad, 1) == 1 {
						fmt.Fprintln(os.Stderr, id, err)
					}
				}
			}
		}()
	}
	wait.Wait()
	fmt.Println("failed", bad)
	if bad > 0 {
		return 1
	}
	return 0
}

func main() {
	driven := flag.String("drive", "", "protocol to make requests over")
	modes := flag.String("modes", "ctx", "comma-separated modes, in turn")
	over := flag.String("over", "http1", "protocols of the calls, in turn, joined with +")
	requests := flag.Int("requests", 100, "requests to make")
	calls := flag.Int("calls", 2, "calls for each")
	concurrency := flag.Int("concurrency", 1, "requests at once")
	early := flag.Bool("early", false, "first, until a line comes on standard input, requests named early")
	warm := flag.Bool("warm", true, "one request first that makes no calls")
	tag := flag.String("tag", "", "goes before the numbers in requests' names")
	to := flag.String("next", "", "protocol=address of the relay to call, comma-separated")
	flag.Parse()
	for _, part := range strings.Split(*to, ",") {
		if name := strings.SplitN(part, "=", 2); len(name) == 2 {
			next[name[0]] = name[1]
		}
	}
	if *driven != "" {
		os.Exit(drive(*driven, *modes, *over, *tag, *requests, *calls, *concurrency, *warm, *early))
	}
	for i := 0; i < 8; i++ {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	var lines []string
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, "relay:", err)
			os.Exit(1)
		}
		lines = append(lines, name+"="+listener.Addr().String())
		go protocols[name].serve(listener, handle)
	}
	fmt.Println("listening", strings.Join(lines, ","))
	select {}
}
