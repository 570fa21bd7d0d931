// Command mesh is the benchmark's service and load for protocols other than plain HTTP/1.
//
//	mesh -serve grpc|https|https2 [-next HOST:PORT]   prints "listening HOST:PORT"
//	mesh -load grpc|https|https2 -url HOST:PORT [-path /hello|/hop]
//
// https is HTTP/1.1 over TLS, https2 is HTTP/2 over TLS; /hop asks -next for /hello in the
// same way. The load keeps -connections calls in flight for -seconds and prints one JSON
// object as its neighbour `load` does.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
)

// raw takes the place of protocol buffers.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (raw) Name() string { return "proto" }

var hello = []byte("hello from a service that knows nothing of tracing\n")

func check(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "mesh: %v\n", err)
		os.Exit(1)
	}
}

// caller makes one call of a path and reads all of its answer.
type caller func(ctx context.Context, path string) error

func connect(how, address string, connections int) caller {
	if how == "grpc" {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		check(err)
		return func(ctx context.Context, path string) error {
			in, out := []byte("in"), []byte(nil)
			return conn.Invoke(ctx, "/bench.Mesh"+path, &in, &out)
		}
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:   how == "https2",
		MaxIdleConnsPerHost: connections,
		DisableCompression:  true,
	}
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, path string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

func serveGRPC(listener net.Listener, next caller) {
	method := func(name string, act func(context.Context) error) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in []byte
			if err := decode(&in); err != nil {
				return nil, err
			}
			return &hello, act(ctx)
		}}
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Mesh",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			method("hello", func(context.Context) error { return nil }),
			method("hop", func(ctx context.Context) error { return next(ctx, "/hello") }),
		},
	}, struct{}{})
	check(server.Serve(listener))
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mesh"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func serveTLS(how string, listener net.Listener, next caller) {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(hello) })
	mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) {
		if err := next(r.Context(), "/hello"); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(hello)
	})
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	if how == "https" {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	check(server.ServeTLS(listener, "", ""))
}

func load(call caller, path string, connections int, seconds float64) {
	latencies := make([][]int64, connections)
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	var group sync.WaitGroup
	failures := make([]int, connections)
	for i := range latencies {
		group.Add(1)
		go func() {
			defer group.Done()
			for now := time.Now(); now.Before(end); now = time.Now() {
				if err := call(context.Background(), path); err != nil {
					fmt.Fprintf(os.Stderr, "mesh: %v\n", err)
					failures[i]++
					return
				}
				latencies[i] = append(latencies[i], time.Since(now).Nanoseconds())
			}
		}()
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	var all []int64
	failed := 0
	for i := range latencies {
		all = append(all, latencies[i]...)
		failed += failures[i]
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) int64 {
		if len(all) == 0 {
			return 0
		}
		return all[int(share*float64(len(all)-1))]
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"done": len(all), "errors": failed, "seconds": elapsed,
		"p50": at(0.5), "p99": at(0.99), "p999": at(0.999),
	})
}

func main() {
	serve := flag.String("serve", "", "what to speak as a service")
	loading := flag.String("load", "", "what to speak as a load")
	next := flag.String("next", "", "the service that /hop calls")
	target := flag.String("url", "", "the service that is loaded, HOST:PORT")
	path := flag.String("path", "/hello", "what to ask for")
	connections := flag.Int("connections", 16, "calls in flight")
	seconds := flag.Float64("seconds", 3, "how long")
	flag.Parse()
	encoding.RegisterCodec(raw{})
	if *loading != "" {
		load(connect(*loading, *target, *connections), *path, *connections, *seconds)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	var onward caller
	if *next != "" {
		onward = connect(*serve, *next, 256)
	}
	fmt.Println("listening", listener.Addr())
	if *serve == "grpc" {
		serveGRPC(listener, onward)
	} else {
		serveTLS(*serve, listener, onward)
	}
}
