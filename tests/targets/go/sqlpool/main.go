// Command sqlpool serves HTTP/1, and calls a "database" for each request from a pool of
// workers that knows the request by its context alone.
//
//	/leaf                the database
//	/call?id=X&n=N       N statements, each with X-Truth-Parent: X
//
// The driver is written for this test: like others it writes and reads its connection on
// the goroutine that calls it, but what it speaks is HTTP, so that its requests can be seen.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

type httpDriver struct{}

func (httpDriver) Open(address string) (driver.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

func (c *connection) Prepare(string) (driver.Stmt, error) { return nil, errors.New("no statements") }
func (c *connection) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }
func (c *connection) Close() error                        { return c.conn.Close() }

// ExecContext sends the statement's text as headers.
func (c *connection) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	if _, err := fmt.Fprintf(c.conn, "GET /leaf HTTP/1.1\r\nHost: database\r\n%s\r\n\r\n", query); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return driver.RowsAffected(1), err
}

type key struct{}

func main() {
	database := flag.String("database", "", "address of the database")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	sql.Register("http", httpDriver{})
	db, err := sql.Open("http", *database)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	db.SetMaxIdleConns(16)
	jobs := make(chan func())
	for i := 0; i < 8; i++ {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	http.HandleFunc("/leaf", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "leaf") })
	http.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("id")
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), key{}, id), time.Minute)
		defer cancel()
		done := make(chan error, n)
		for i := 0; i < n; i++ {
			query := fmt.Sprintf("X-Truth-Id: %s-%d\r\nX-Truth-Parent: %s", id, i, id)
			jobs <- func() {
				_, err := db.ExecContext(ctx, query)
				done <- err
			}
		}
		for i := 0; i < n; i++ {
			if err := <-done; err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		fmt.Fprintln(w, n)
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
