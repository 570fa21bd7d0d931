// Command databases serves HTTP/1, and calls Redis and PostgreSQL for each request with the clients
// that Go programs use: go-redis, database/sql over lib/pq, and, since Go 1.21, pgx's pool and
// database/sql over pgx.
//
//	/call?id=X&n=N&mode=MODE&db=CLIENT   N calls, each of which has X, and its number, in its text
//
// Modes: "seq" on the handler's goroutine, "go" each on a goroutine of its own, "pool" by workers
// that were given the request's context, "poolnone" by workers that were not.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	_ "github.com/lib/pq"
)

type client func(ctx context.Context, name string) error

type key struct{}

var clients = map[string]client{}

// openers are those of the clients that this Go can build; an address that was not given is empty.
var openers []func(redis, postgres string) error

func query(name string) string { return `SELECT 1 AS "` + name + `"` }

func openSQL(driver, url string) (client, client, error) {
	db, err := sql.Open(driver, url)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxIdleConns(16)
	plain := func(ctx context.Context, name string) error {
		var one int
		return db.QueryRowContext(ctx, query(name)).Scan(&one)
	}
	inside := func(ctx context.Context, name string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, query(name)); err != nil {
			return err
		}
		return tx.Commit()
	}
	return plain, inside, nil
}

func openAll(redisAddress, postgres string) error {
	for _, open := range openers {
		if err := open(redisAddress, postgres); err != nil {
			return err
		}
	}
	if postgres == "" {
		return nil
	}
	var err error
	clients["pq"], clients["pqtx"], err = openSQL("postgres", postgres)
	return err
}

func perform(ctx context.Context, mode, id string, n int, call client, jobs chan func()) error {
	done := make(chan error, n)
	for i := 0; i < n; i++ {
		name := fmt.Sprintf("%s_%d", id, i)
		switch mode {
		case "seq":
			done <- call(ctx, name)
		case "go":
			go func() { done <- call(ctx, name) }()
		case "pool":
			jobs <- func() { done <- call(ctx, name) }
		case "poolnone":
			jobs <- func() { done <- call(context.Background(), name) }
		default:
			return fmt.Errorf("no mode %q", mode)
		}
	}
	for i := 0; i < n; i++ {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

func main() {
	redisAddress := flag.String("redis", "", "address of Redis")
	postgres := flag.String("postgres", "", "URL of PostgreSQL")
	flag.Parse()
	if err := openAll(*redisAddress, *postgres); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	jobs := make(chan func())
	for i := 0; i < 8; i++ {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	http.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.Query()
		n, _ := strconv.Atoi(asked.Get("n"))
		call := clients[asked.Get("db")]
		if call == nil {
			http.Error(w, "no such client", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), key{}, n), time.Minute)
		defer cancel()
		if err := perform(ctx, asked.Get("mode"), asked.Get("id"), n, call, jobs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, n)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
