// Command h2app speaks HTTP/2 without TLS, by net/http and by grpc-go.
//
//	h2app -serve http|grpc         serves; prints "listening ADDRESS"
//	h2app -call http|grpc ADDRESS  makes a call for each line of standard input, and says "done"
//
// Lines of -call: "METHOD PATH N" makes N at once. A gRPC method is Unary, Fail, List, Chat or
// Hang; an HTTP path tells the status after its last slash, /slow/200 waits for a moment,
// /hints/200 says something before, /trailers/200 behind the body, and the headers of
// /wide/200 take several frames. So do a client's headers and trailers for these.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte{}, b...); return nil }
func (raw) Name() string                    { return "raw" }

func unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in []byte
	if err := decode(&in); err != nil {
		return nil, err
	}
	return &in, nil
}

func fail(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return nil, status.Error(codes.NotFound, "no such thing")
}

func hang(_ any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func list(_ any, stream grpc.ServerStream) error {
	var in []byte
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	for i := 0; i < 5; i++ {
		out := bytes.Repeat(in, 3000)
		if err := stream.SendMsg(&out); err != nil {
			return err
		}
	}
	return nil
}

func chat(_ any, stream grpc.ServerStream) error {
	for {
		var in []byte
		if err := stream.RecvMsg(&in); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&in); err != nil {
			return err
		}
	}
}

var service = grpc.ServiceDesc{
	ServiceName: "shop.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Unary", Handler: unary},
		{MethodName: "Fail", Handler: fail},
		{MethodName: "Hang", Handler: hang},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "List", Handler: list, ServerStreams: true},
		{StreamName: "Chat", Handler: chat, ServerStreams: true, ClientStreams: true},
	},
}

func plain() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

var wide = strings.Repeat("wide", 5000)

func answer(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	code, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
	if err != nil {
		code = 200
	}
	if strings.HasPrefix(r.URL.Path, "/slow") {
		time.Sleep(50 * time.Millisecond)
	}
	w.Header().Add("X-Answer", "one")
	w.Header().Add("X-Answer", "two, three")
	switch {
	case strings.HasPrefix(r.URL.Path, "/hints"):
		w.WriteHeader(http.StatusEarlyHints)
	case strings.HasPrefix(r.URL.Path, "/trailers"):
		w.Header().Set("Trailer", "X-Sum")
		defer w.Header().Set("X-Sum", "42")
	case strings.HasPrefix(r.URL.Path, "/wide"):
		w.Header().Set("X-Wide", wide)
	}
	w.WriteHeader(code)
	if strings.HasPrefix(r.URL.Path, "/big") {
		w.Write(bytes.Repeat([]byte("0123456789"), 10000))
	} else {
		io.WriteString(w, r.Proto)
	}
}

func serve(kind string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	if kind == "grpc" {
		server := grpc.NewServer(grpc.ForceServerCodec(raw{}))
		server.RegisterService(&service, struct{}{})
		return server.Serve(listener)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), Protocols: plain()}
	return server.Serve(listener)
}

type caller func(method, path string) error

func httpCaller(address string) caller {
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: only}}
	return func(method, path string) error {
		var body io.Reader
		if method != "GET" {
			body = strings.NewReader(strings.Repeat("body", 10000))
		}
		request, err := http.NewRequest(method, "http://"+address+path, body)
		if err != nil {
			return err
		}
		request.Header.Set("X-Tenant", "acme")
		if strings.HasPrefix(path, "/wide") {
			request.Header.Set("X-Wide", wide)
		}
		if strings.HasPrefix(path, "/trailers") {
			request.Trailer = http.Header{"X-Client-Sum": {"7"}}
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

func grpcCaller(address string) (caller, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		return nil, err
	}
	return func(_, method string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		path, in, out := "/shop.Echo/"+method, []byte("hello"), []byte(nil)
		if method == "Hang" {
			short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
			defer stop()
			return conn.Invoke(short, path, &in, &out)
		}
		if method != "List" && method != "Chat" {
			return conn.Invoke(ctx, path, &in, &out)
		}
		desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: method == "Chat"}
		stream, err := conn.NewStream(ctx, desc, path)
		if err != nil {
			return err
		}
		for i := 0; i < 3; i++ {
			if err := stream.SendMsg(&in); err != nil {
				return err
			}
			if method == "List" {
				break
			}
			if err := stream.RecvMsg(&out); err != nil {
				return err
			}
		}
		stream.CloseSend()
		for {
			if err := stream.RecvMsg(&out); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	}, nil
}

func call(kind, address string) error {
	do := httpCaller(address)
	if kind == "grpc" {
		var err error
		if do, err = grpcCaller(address); err != nil {
			return err
		}
	}
	fmt.Println("listening", address)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var method, path string
		n := 1
		fmt.Sscan(lines.Text(), &method, &path, &n)
		var group sync.WaitGroup
		for i := 0; i < n; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				if err := do(method, path); err != nil {
					fmt.Fprintln(os.Stderr, method, path, err)
				}
			}()
		}
		group.Wait()
		fmt.Println("done")
	}
	return nil
}

func main() {
	serving := flag.String("serve", "", "http or grpc")
	calling := flag.String("call", "", "http or grpc, of the address that follows")
	flag.Parse()
	var err error
	if *serving != "" {
		err = serve(*serving)
	} else {
		err = call(*calling, flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
