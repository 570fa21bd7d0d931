// Command truth is a net/http service that calls another one in many ways, and tells with a
// header for which request it does. Written for Go 1.15 and all later ones.
//
//	/leaf                       a few bytes
//	/call?id=X&mode=M&n=N       N calls of -next's /leaf, each with X-Truth-Parent: X
//	/pid                        its process id
//
// With -once it makes one call and ends.
//
// Modes: seq, ctx (seq with the request's context), par, asks (the same), parctx, chain2, chain3, chain5
// (goroutines that start goroutines), pool (a worker pool, with the request's context).
//
// With -tls it serves HTTPS (a certificate of its own making), and calls an https:// -next
// without asking who that is; HTTP/1.1, with -h2 HTTP/2 on both sides.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
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

// secure makes a key and a certificate for it.
func secure(version string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{made}, PrivateKey: key}},
		MaxVersion:   tls.VersionTLS13,
	}
	if version == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	return config, nil
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address, or path of a Unix socket, to listen on")
	proxy := flag.String("proxy", "", "URL of a proxy for calls")
	flag.StringVar(&next, "next", "", "base URL that /call calls")
	version := flag.String("tls", "", "serve HTTPS: 1.2 or 1.3, the newest version to speak")
	h2 := flag.Bool("h2", false, "HTTP/2 over TLS, served and called")
	wrap := flag.Bool("wrap", false, "connections within others of the program's own")
	once := flag.Bool("once", false, "make one call and end")
	flag.Parse()
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	transport.ForceAttemptHTTP2 = *h2
	if *wrap {
		wrapDials(transport)
	}
	if *proxy != "" {
		at, err := url.Parse(*proxy)
		if err != nil {
			fmt.Fprintln(os.Stderr, "truth:", err)
			os.Exit(1)
		}
		transport.Proxy = http.ProxyURL(at)
	}
	if *once {
		if err := call(context.Background(), "once", 0); err != nil {
			fmt.Fprintln(os.Stderr, "truth:", err)
			os.Exit(1)
		}
		return
	}
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
	network := "tcp"
	if strings.HasPrefix(*listen, "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "truth:", err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	server := &http.Server{}
	if *wrap {
		var config *tls.Config
		if *version != "" {
			config, err = secure(*version)
		}
		if err == nil {
			err = server.Serve(wrapListener(listener, config))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *version == "" {
		fmt.Fprintln(os.Stderr, server.Serve(listener))
		os.Exit(1)
	}
	if !*h2 {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	server.ErrorLog = log.New(ioutil.Discard, "", 0)
	server.TLSConfig, err = secure(*version)
	if err == nil {
		err = server.ServeTLS(listener, "", "")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
