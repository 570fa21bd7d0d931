// Command backend is the shop's store of facts: customers, shipping times and stock.
// Nothing here knows of tracing.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()

	answer := func(path string, takes time.Duration, text string) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(takes)
			if r.URL.Query().Get("item") == "unicorn" {
				http.Error(w, "no such item", http.StatusNotFound)
				return
			}
			fmt.Fprintln(w, text)
		})
	}
	answer("/customer", 3*time.Millisecond, "Ada")
	answer("/shipping", 6*time.Millisecond, "two days")
	answer("/stock", 4*time.Millisecond, "17 left")

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
