// Clients of message brokers, for tests: each waits for a line, does its work, and says what it did.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func value[T any](v T, err error) T {
	must(err)
	return v
}

func speakNats(url string, number int) {
	c := value(nats.Connect(url, nats.Name("go"), nats.UserInfo("me", "s3cr3t-password")))
	var got sync.WaitGroup
	got.Add(number)
	value(c.Subscribe("events.>", func(*nats.Msg) { got.Done() }))
	value(c.QueueSubscribe("sum", "workers", func(m *nats.Msg) { must(m.Respond([]byte("s3cr3t"))) }))
	must(c.Flush())
	for i := 0; i < number; i++ {
		m := nats.NewMsg("events.new")
		m.Data = []byte("s3cr3t-body")
		m.Header.Set("traceparent", traceparent)
		must(c.PublishMsg(m))
	}
	got.Wait()
	for i := 0; i < number; i++ {
		value(c.Request("sum", []byte("s3cr3t"), 20*time.Second))
	}
	_, err := c.Request("nobody", nil, 20*time.Second)
	if err != nats.ErrNoResponders {
		must(fmt.Errorf("not refused: %v", err))
	}
	must(c.Drain())
	for !c.IsClosed() {
		time.Sleep(time.Millisecond)
	}
}

func speakAmqp(url string, number int) {
	connection := value(amqp.Dial(url))
	sends, receives := value(connection.Channel()), value(connection.Channel())
	q := value(sends.QueueDeclare("go-orders", false, true, false, false, nil))
	must(sends.Confirm(false))
	must(receives.Qos(1, 0, false))
	deliveries := value(receives.Consume(q.Name, "", false, false, false, false, nil))
	for i := 0; i < number; i++ {
		confirmed := value(sends.PublishWithDeferredConfirmWithContext(context.Background(), "", q.Name, false, false,
			amqp.Publishing{Body: []byte("s3cr3t-body"), MessageId: strconv.Itoa(i),
				Headers: amqp.Table{"traceparent": traceparent}}))
		if !confirmed.Wait() {
			must(fmt.Errorf("not confirmed"))
		}
	}
	for i := 0; i < number; i++ {
		must((<-deliveries).Ack(false))
	}
	_, ok, err := sends.Get(q.Name, false)
	must(err)
	if ok {
		must(fmt.Errorf("one is left"))
	}
	must(connection.Close())
}

func speakMqtt(url string, number int) {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID("go").
		SetUsername("me").SetPassword("s3cr3t-password"))
	wait := func(t mqtt.Token) {
		t.Wait()
		must(t.Error())
	}
	wait(c.Connect())
	var got sync.WaitGroup
	got.Add(3 * number)
	wait(c.Subscribe("go/#", 2, func(mqtt.Client, mqtt.Message) { got.Done() }))
	for quality := byte(0); quality < 3; quality++ {
		for i := 0; i < number; i++ {
			wait(c.Publish("go/q"+strconv.Itoa(int(quality)), quality, false, "s3cr3t-body"))
		}
	}
	got.Wait()
	c.Disconnect(250)
}

func main() {
	number := value(strconv.Atoi(os.Args[3]))
	bufio.NewReader(os.Stdin).ReadString('\n')
	switch os.Args[1] {
	case "nats":
		speakNats(os.Args[2], number)
	case "amqp":
		speakAmqp(os.Args[2], number)
	case "mqtt":
		speakMqtt(os.Args[2], number)
	}
	fmt.Println("done")
	bufio.NewReader(os.Stdin).ReadString('\n')
}
