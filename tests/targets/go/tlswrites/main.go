// Command tlswrites writes requests through crypto/tls, each by one Write out of the same
// buffer, and answers them at the other end of the connection, in the same process.
//
// It says "listening ADDRESS", then obeys lines of its standard input: "write LENGTH COUNT",
// answered by "wrote N..." with what each Write has returned; "fail LENGTH", once, a Write
// that nobody reads and whose deadline passes; "close".
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"io/ioutil"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	last   = "GET /last HTTP/1.1\r\nHost: here\r\n\r\n" // nothing is read behind it
	answer = "HTTP/1.1 204 No Content\r\n\r\n"
)

var suites = map[string]uint16{
	"gcm":    tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"chacha": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,
	"cbc":    tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}
}

// split writes a few bytes at a time.
type split struct{ net.Conn }

func (s split) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += 700 {
		end := at + 700
		if end > len(b) {
			end = len(b)
		}
		if n, err := s.Conn.Write(b[at:end]); err != nil {
			return at + n, err
		}
	}
	return len(b), nil
}

// deep is one of many around each other.
type deep struct{ net.Conn }

func (d deep) Write(b []byte) (int, error) { return d.Conn.Write(b) }

func wrapped(conn net.Conn, how string) net.Conn {
	switch how {
	case "split":
		return split{conn}
	case "deep":
		for i := 0; i < 30; i++ {
			conn = deep{conn}
		}
	}
	return conn
}

func main() {
	version := flag.String("tls", "1.3", "1.2 or 1.3")
	suite := flag.String("suite", "gcm", "of 1.2: gcm, chacha, cbc")
	wrap := flag.String("wrap", "", "split, deep")
	path := flag.String("unix", "", "path of a Unix socket")
	shaken := flag.Bool("shaken", false, "shake hands at once, not with the first Write")
	flag.Parse()
	config := &tls.Config{
		Certificates:       []tls.Certificate{certificate()},
		InsecureSkipVerify: true,
		MaxVersion:         tls.VersionTLS13,
		CipherSuites:       []uint16{suites[*suite]},
	}
	if *version == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	network, address := "tcp", "127.0.0.1:0"
	if *path != "" {
		network, address = "unix", *path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	again := make(chan bool) // the other end goes on reading
	begin := make(chan bool)
	started := begin
	go func() {
		if !*shaken {
			<-started // no handshake before a command is given
		}
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		server := tls.Server(conn, config)
		from := bufio.NewReader(server)
		for {
			request, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			_, _ = io.Copy(ioutil.Discard, request.Body)
			_, _ = io.WriteString(server, answer)
			if request.URL.Path == "/last" {
				<-again
			}
		}
	}()
	plain, err := net.Dial(network, listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	if tcp, ok := plain.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(16 << 10) // so that large Writes leave by pieces
	}
	client := tls.Client(wrapped(plain, *wrap), config)
	if *shaken {
		if err := client.Handshake(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("listening", "127.0.0.1:0")
	buffer := make([]byte, 1<<20)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if begin != nil {
			close(begin)
			begin = nil
		}
		var length, count int
		word := strings.Fields(lines.Text())[0]
		_, _ = fmt.Sscanf(lines.Text(), word+" %d %d", &length, &count)
		head := fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: here\r\nContent-Length: ", length)
		head += fmt.Sprintf("%06d\r\n\r\n", length-len(head)-10)
		copy(buffer, bytes.Repeat([]byte("x"), length))
		copy(buffer, head)
		switch word {
		case "write":
			said := "wrote"
			for i := 0; i < count; i++ {
				n, err := client.Write(buffer[:length])
				if err != nil {
					log.Fatal(err)
				}
				if _, err := io.ReadFull(client, make([]byte, len(answer))); err != nil {
					log.Fatal(err)
				}
				said += fmt.Sprint(" ", n)
			}
			fmt.Println(said)
		case "fail":
			if _, err := client.Write([]byte(last)); err != nil {
				log.Fatal(err)
			}
			if _, err := io.ReadFull(client, make([]byte, len(answer))); err != nil {
				log.Fatal(err)
			}
			_ = client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := client.Write(buffer[:length])
			if err == nil {
				log.Fatal("it has not failed")
			}
			fmt.Println("wrote", n)
			close(again)
		case "close":
			_ = client.Close()
			fmt.Println("closed")
		}
	}
}
