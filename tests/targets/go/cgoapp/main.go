// Command cgoapp is linked by the system's linker beside C code with thread-local
// variables of its own, which moves the place where Go keeps its current goroutine.
package main

// static __thread long counters[24] = {1, 2, 3};
// long bump(int i) { return ++counters[i % 24]; }
import "C"

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	C.bump(C.int(len(os.Args)))
	fmt.Println(listener.Addr())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, C.bump(1))
	})
	if err := http.Serve(listener, handler); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
