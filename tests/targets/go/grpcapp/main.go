// Command grpcapp links both ends of grpc-go and of golang.org/x/net/http2.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
)

type bytesCodec struct{}

func (bytesCodec) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (bytesCodec) Name() string   { return "bytes" }
func (bytesCodec) String() string { return "bytes" }

func echo(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	var body []byte
	if err := decode(&body); err != nil {
		return nil, err
	}
	return &body, nil
}

var service = grpc.ServiceDesc{
	ServiceName: "layout.Echo",
	HandlerType: (*interface{})(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	server.RegisterService(&service, struct{}{})
	go server.Serve(listener)
	conn, err := grpc.Dial(listener.Addr().String(), grpc.WithInsecure())
	if err == nil {
		in, out := []byte("x"), []byte(nil)
		err = conn.Invoke(context.Background(), "/layout.Echo/Echo", &in, &out)
	}
	fmt.Println(listener.Addr(), err)
	plain := &http2.Transport{AllowHTTP: true, DialTLS: func(network, addr string, _ *tls.Config) (net.Conn, error) {
		return net.Dial(network, addr)
	}}
	_, err = plain.RoundTrip(&http.Request{Method: "GET"})
	fmt.Println(err)
	accepted, err := listener.Accept()
	if err == nil {
		(&http2.Server{}).ServeConn(accepted, &http2.ServeConnOpts{})
	}
}
