// Command etcd is etcd's server as it is, built from its module; with -put N, a client of it that
// is just as real.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

// put writes and reads n keys of the server at address.
func put(address string, n int) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: 30 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := 0; i < n; i++ {
		key, value := fmt.Sprint("key", i), fmt.Sprint("value", i)
		if _, err := client.Put(ctx, key, value); err != nil {
			return err
		}
		got, err := client.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value {
			return fmt.Errorf("%s: got %v", key, got.Kvs)
		}
	}
	return nil
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "-put" {
		n, _ := strconv.Atoi(os.Args[3])
		if err := put(os.Args[2], n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	etcdmain.Main(os.Args)
}
