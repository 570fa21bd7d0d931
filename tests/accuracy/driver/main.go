// Command driver sends the root calls of a plan, a fixed number at a time, each on a
// keep-alive connection, and prints one JSON line per call: its id and what came of it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type root struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

type outcome struct {
	ID     string `json:"id"`
	Status int    `json:"status"`
	Error  string `json:"error"`
	Nanos  int64  `json:"nanos"`
}

func send(client *http.Client, r root) outcome {
	result := outcome{ID: r.ID}
	request, err := http.NewRequest(http.MethodGet, "http://"+r.Address+"/call/"+r.ID, nil)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	request.Header.Set("X-Truth-Id", r.ID)
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	result.Nanos = time.Since(start).Nanoseconds()
	result.Status = response.StatusCode
	if err != nil {
		result.Error = err.Error()
	} else if response.StatusCode != http.StatusOK {
		result.Error = strings.TrimSpace(string(body))
	}
	return result
}

func main() {
	concurrency := flag.Int("concurrency", 1, "calls in flight at once")
	flag.Parse()
	work := make(chan root)
	results := make(chan outcome)
	var workers sync.WaitGroup
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 128},
		Timeout:   60 * time.Second,
	}
	for i := 0; i < *concurrency; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for r := range work {
				results <- send(client, r)
			}
		}()
	}
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			var r root
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				fmt.Fprintln(os.Stderr, "driver: bad line on standard input:", err)
				os.Exit(2)
			}
			work <- r
		}
		close(work)
		workers.Wait()
		close(results)
	}()
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	encoder := json.NewEncoder(output)
	for result := range results {
		_ = encoder.Encode(result)
	}
}
