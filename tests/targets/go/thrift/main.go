// A client of Thrift in Go: it waits for a line, makes calls, and says that it is done.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/apache/thrift/lib/go/thrift"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// One connection, in the words of thrift_programs.py; plain is without a buffer of its own.
func connect(kind, address string) (*ShopClient, thrift.TTransport) {
	settings := &thrift.TConfiguration{}
	var transport thrift.TTransport = thrift.NewTSocketConf(address, settings)
	var protocols thrift.TProtocolFactory = thrift.NewTBinaryProtocolFactoryConf(settings)
	switch kind {
	case "framed":
		transport = thrift.NewTFramedTransportConf(transport, settings)
	case "buffered-compact":
		transport = thrift.NewTBufferedTransport(transport, 4096)
		protocols = thrift.NewTCompactProtocolFactoryConf(settings)
	case "header":
		protocols = thrift.NewTHeaderProtocolFactoryConf(settings)
	}
	client := NewShopClientFactory(transport, protocols)
	must(transport.Open())
	return client, transport
}

func main() {
	number, err := strconv.Atoi(os.Args[1])
	must(err)
	bufio.NewReader(os.Stdin).ReadString('\n')
	var work sync.WaitGroup
	for at := 2; at+1 < len(os.Args); at += 2 {
		kind, address := os.Args[at], os.Args[at+1]
		work.Add(1)
		go func() {
			defer work.Done()
			client, transport := connect(kind, address)
			defer transport.Close()
			ctx := context.Background()
			for call := 0; call < number; call++ {
				item, err := client.Price(ctx, "secret", int32(call))
				must(err)
				if item.Price != int64(call)*3 {
					panic("another call's answer")
				}
				must(client.Note(ctx, "secret"))
				if _, err := client.Price(ctx, "unicorn", 1); err == nil {
					panic("a unicorn")
				}
				must(client.Ping(ctx))
			}
		}()
	}
	work.Wait()
	fmt.Println("done")
}
