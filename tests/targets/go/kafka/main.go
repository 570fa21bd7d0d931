// A service that sends a message for each request, by franz-go or kafka-go, and a reader.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

func traceparent(n string) string {
	number, _ := strconv.Atoi(n)
	return fmt.Sprintf("00-%032x-%016x-01", number, number)
}

func main() {
	address := os.Args[1]
	franz, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID("franz"), kgo.AllowAutoTopicCreation(),
		kgo.ProducerLinger(2*time.Millisecond))
	if err != nil {
		panic(err)
	}
	writer := &kafka.Writer{Addr: kafka.TCP(address), Topic: "segmentio", AllowAutoTopicCreation: true,
		BatchTimeout: 2 * time.Millisecond}
	send := func(ctx context.Context, way, n string) error {
		parent := traceparent(n)
		if strings.HasPrefix(way, "franz") {
			record := &kgo.Record{Topic: "franz", Value: []byte("v"),
				Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(parent)}}}
			if way == "franz-later" {
				franz.Produce(context.Background(), record, nil)
				return nil
			}
			return franz.ProduceSync(ctx, record).FirstErr()
		}
		return writer.WriteMessages(ctx, kafka.Message{Value: []byte("v"),
			Headers: []kafka.Header{{Key: "traceparent", Value: []byte(parent)}}})
	}
	for _, way := range []string{"franz", "segmentio"} {
		for i := 0; i < 50; i++ {
			if err := send(context.Background(), way, "1"); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		words := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		if err := send(r.Context(), words[0], words[1]); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: "segmentio", GroupID: "readers",
			StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond})
		for got := 0; got < 120; got++ {
			if _, err := reader.ReadMessage(r.Context()); err != nil {
				http.Error(w, err.Error(), 500)
			}
		}
		reader.Close()
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	http.Serve(listener, nil)
}
