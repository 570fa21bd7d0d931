// Command frontend is the shop's public service: GET /checkout asks the pricing service
// and the back end at the same time and answers when both have. Nothing here knows of
// tracing: no SDK, no headers, only net/http with its keep-alive connections.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

var client = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 16},
}

func fetch(ctx context.Context, target string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", target, response.Status)
	}
	return strings.TrimSpace(string(body)), err
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	pricing := flag.String("pricing", "", "base URL of the pricing service")
	backend := flag.String("backend", "", "base URL of the back end")
	flag.Parse()

	http.HandleFunc("/checkout", func(w http.ResponseWriter, r *http.Request) {
		item := url.QueryEscape(r.URL.Query().Get("item"))
		targets := []string{
			*pricing + "/price?item=" + item,
			*backend + "/customer?id=42",
			*backend + "/shipping?item=" + item,
		}
		answers := make([]string, len(targets))
		errs := make([]error, len(targets))
		var group sync.WaitGroup
		for i := range targets {
			group.Add(1)
			go func(i int) {
				defer group.Done()
				answers[i], errs[i] = fetch(r.Context(), targets[i])
			}(i)
		}
		group.Wait()
		for _, err := range errs {
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"price": answers[0], "customer": answers[1], "shipping": answers[2],
		})
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
