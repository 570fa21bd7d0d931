// Command target is the Go service of the accuracy harness: it serves the calls of a plan
// and makes the calls below them, in the way the plan names, with nothing but net/http.
//
// Every outgoing request carries X-Truth-Id (this call) and X-Truth-Parent (the id of the
// inbound request it is made for); the tracer captures both and the harness compares.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Node is one call of the plan, as its server sees it.
type Node struct {
	Service   string   `json:"service"`
	Mode      string   `json:"mode"`
	Transport string   `json:"transport"`
	Ctx       bool     `json:"ctx"`
	SleepMs   int      `json:"sleep_ms"`
	Post      bool     `json:"post"`
	Calls     []string `json:"calls"`
}

// Plan holds the nodes by id and where each service listens, and does so for TLS.
type Plan struct {
	Services map[string]string `json:"services"`
	Secure   map[string]string `json:"secure"`
	Nodes    map[string]*Node  `json:"nodes"`
}

var (
	plan    atomic.Pointer[Plan]
	pending atomic.Int64 // calls that outlive their request and are not finished
	failed  atomic.Int64 // of those, the ones that went wrong
	anybody = &tls.Config{InsecureSkipVerify: true}
	clients = map[string]*http.Client{
		"pooled":  {Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 128, TLSClientConfig: anybody}},
		"limited": {Transport: &http.Transport{MaxConnsPerHost: 2, MaxIdleConnsPerHost: 2, TLSClientConfig: anybody}},
		"fresh":   {Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: anybody}},
	}
	jobs       = make(chan func(), 1024)
	workerJobs = make(chan func())
	workerOnce sync.Once
	grownJobs  = make(chan func())
)

func call(ctx context.Context, client *http.Client, id, parent string) error {
	p := plan.Load()
	node := p.Nodes[id]
	if node == nil {
		return fmt.Errorf("the plan has no call %q", id)
	}
	method, body := http.MethodGet, io.Reader(nil)
	if node.Post {
		method, body = http.MethodPost, strings.NewReader(strings.Repeat("body ", 60))
	}
	url := "http://" + p.Services[node.Service] + "/call/" + id
	if secure := p.Secure[node.Service]; secure != "" {
		url = "https://" + secure + "/call/" + id
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	request.Header.Set("X-Truth-Id", id)
	request.Header.Set("X-Truth-Parent", parent)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("call %s: %s", id, response.Status)
	}
	return nil
}

// perform makes the node's calls in its mode and returns the first error.
func perform(request *http.Request, id string, node *Node) error {
	client := clients[node.Transport]
	if client == nil {
		return fmt.Errorf("unknown transport %q", node.Transport)
	}
	ctx := context.Background()
	if node.Ctx {
		// What real handlers do: values and deadlines on top of the request's context.
		type key struct{}
		deadline, cancel := context.WithTimeout(request.Context(), 30*time.Second)
		defer cancel()
		ctx = context.WithValue(deadline, key{}, id)
	}
	sequential := func() error {
		for _, child := range node.Calls {
			if err := call(ctx, client, child, id); err != nil {
				return err
			}
		}
		return nil
	}
	parallel := func(start func(func())) error {
		errs := make(chan error, len(node.Calls))
		for _, child := range node.Calls {
			child := child
			start(func() { errs <- call(ctx, client, child, id) })
		}
		var first error
		for range node.Calls {
			if err := <-errs; err != nil && first == nil {
				first = err
			}
		}
		return first
	}
	switch node.Mode {
	case "sequential":
		return sequential()
	case "parallel":
		return parallel(func(f func()) { go f() })
	case "chain2":
		done := make(chan error)
		go func() { go func() { done <- sequential() }() }()
		return <-done
	case "chain3":
		done := make(chan error)
		go func() { go func() { go func() { done <- sequential() }() }() }()
		return <-done
	case "pool":
		return parallel(func(f func()) { jobs <- f })
	case "worker":
		workerOnce.Do(func() { go serveJobs(workerJobs) })
		return parallel(func(f func()) { workerJobs <- f })
	case "grown":
		return parallel(submit)
	case "leftover":
		ctx := ctx
		if node.Ctx {
			ctx = context.WithoutCancel(request.Context())
		}
		for i, child := range node.Calls {
			i, child := i, child
			pending.Add(1)
			go func() {
				defer pending.Add(-1)
				time.Sleep(time.Duration(node.SleepMs*(i+1)) * time.Millisecond)
				if err := call(ctx, client, child, id); err != nil {
					failed.Add(1)
					fmt.Fprintln(os.Stderr, "leftover:", err)
				}
			}()
		}
		return nil
	}
	return fmt.Errorf("unknown mode %q", node.Mode)
}

// submit is how pools that grow on demand work: an idle worker takes the job, else the
// submitter starts a worker, which then serves jobs of whoever submits them.
func submit(job func()) {
	select {
	case grownJobs <- job:
	default:
		go func() {
			job()
			for {
				select {
				case next := <-grownJobs:
					next()
				case <-time.After(200 * time.Millisecond):
					return
				}
			}
		}()
	}
}

func serveJobs(jobs <-chan func()) {
	for job := range jobs {
		job()
	}
}

func handleCall(w http.ResponseWriter, request *http.Request) {
	id := strings.TrimPrefix(request.URL.Path, "/call/")
	if request.Body != nil {
		_, _ = io.Copy(io.Discard, request.Body)
	}
	current := plan.Load()
	if current == nil || current.Nodes[id] == nil {
		http.Error(w, "no such call in the plan", http.StatusNotFound)
		return
	}
	node := current.Nodes[id]
	if node.SleepMs > 0 && node.Mode != "leftover" {
		time.Sleep(time.Duration(node.SleepMs) * time.Millisecond)
	}
	if len(node.Calls) > 0 {
		if err := perform(request, id, node); err != nil {
			fmt.Fprintln(os.Stderr, "call", id+":", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	fmt.Fprintln(w, id)
}

func handleLoad(w http.ResponseWriter, request *http.Request) {
	next := &Plan{}
	if err := json.NewDecoder(request.Body).Decode(next); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	plan.Store(next)
	fmt.Fprintln(w, len(next.Nodes))
}

// listenTLS listens with a certificate of its own making.
func listenTLS() (net.Listener, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate := tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}
	return tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	for i := 0; i < 4; i++ {
		go serveJobs(jobs)
	}
	http.HandleFunc("/call/", handleCall)
	http.HandleFunc("/load", handleLoad)
	http.HandleFunc("/pending", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, pending.Load(), failed.Load())
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "target:", err)
		os.Exit(1)
	}
	secure, err := listenTLS()
	if err != nil {
		fmt.Fprintln(os.Stderr, "target:", err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	fmt.Println("secure", secure.Addr())
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(secure)
	fmt.Fprintln(os.Stderr, server.Serve(listener))
	os.Exit(1)
}
