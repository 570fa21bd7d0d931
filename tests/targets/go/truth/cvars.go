//go:build cvars
// +build cvars

package main

// static __thread long counters[24] = {1, 2, 3};
// long bump(int i) { return ++counters[i % 24]; }
import "C"

// Thread-local variables of C move the place where Go keeps its current goroutine.
func init() { C.bump(1) }
