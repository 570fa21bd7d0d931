package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
)

// raw takes the place of protocol buffers.
type raw struct{}

func (raw) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}
func (raw) Name() string { return "proto" }

var (
	connections = map[string]*grpc.ClientConn{}
	lock        sync.Mutex
)

func dial(address string) (*grpc.ClientConn, error) {
	lock.Lock()
	defer lock.Unlock()
	if conn := connections[address]; conn != nil {
		return conn, nil
	}
	conn, err := grpc.Dial(address, grpc.WithInsecure())
	if err == nil {
		connections[address] = conn
	}
	return conn, err
}

func callGRPC(ctx context.Context, address, id, parent string) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "x-truth-id", id, "x-truth-parent", parent)
	in, out := []byte("in"), []byte(nil)
	return conn.Invoke(ctx, "/relay.Relay/Call", &in, &out)
}

func serveGRPC(l net.Listener, handler func(context.Context, string) error) {
	method := func(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
		var in []byte
		if err := decode(&in); err != nil {
			return nil, err
		}
		id := ""
		if values, ok := metadata.FromIncomingContext(ctx); ok && len(values["x-truth-id"]) == 1 {
			id = values["x-truth-id"][0]
		}
		out := []byte("out")
		err := handler(ctx, id)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return &out, err
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "relay.Relay",
		HandlerType: (*interface{})(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: method}},
	}, struct{}{})
	fmt.Fprintln(os.Stderr, server.Serve(l))
}

func init() {
	encoding.RegisterCodec(raw{})
	register("grpc", protocol{serve: serveGRPC, call: callGRPC})
}
