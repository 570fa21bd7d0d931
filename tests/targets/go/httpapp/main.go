// Command httpapp is a small net/http server that is also a client of itself.
//
// It links every type whose layout the tracer needs (server, client, contexts)
// and, run with the argument "layout", prints what the running program itself
// knows of them, one "name value" a line.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"time"
)

type key struct{}

func handler(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/leaf" {
		_, _ = io.WriteString(w, "leaf\n")
		return
	}
	ctx := context.WithValue(context.WithoutCancel(r.Context()), key{}, "v")
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Host+"/leaf", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(w, resp.Body)
}

// layout prints offsets as reflection sees them: an authority other than DWARF.
func layout() {
	request := reflect.TypeOf(http.Request{})
	ctx, _ := request.FieldByName("ctx")
	fmt.Println("net/http.Request.ctx", ctx.Offset)
	transport := reflect.TypeOf(http.Transport{})
	conns, _ := transport.FieldByName("idleConn")
	persist := conns.Type.Elem().Elem().Elem()
	for _, name := range []string{"conn", "reqch"} {
		field, _ := persist.FieldByName(name)
		fmt.Println("net/http.persistConn."+name, field.Offset)
	}
	reqch, _ := persist.FieldByName("reqch")
	rc := reqch.Type.Elem()
	for _, name := range []string{"req", "treq", "ch"} {
		if field, ok := rc.FieldByName(name); ok {
			fmt.Println("net/http.requestAndChan."+name, field.Offset)
		}
	}
	server := reflect.TypeOf(http.Server{})
	active, _ := server.FieldByName("activeConn")
	conn := active.Type.Key().Elem()
	for _, name := range []string{"rwc", "cancelCtx"} {
		field, _ := conn.FieldByName(name)
		fmt.Println("net/http.conn."+name, field.Offset)
	}
	cur, _ := conn.FieldByName("curReq")
	fmt.Println("net/http.conn.curReq", cur.Offset)
	tcp := reflect.TypeOf(net.TCPConn{})
	inner, _ := tcp.FieldByName("conn")
	fd, _ := inner.Type.FieldByName("fd")
	pfd, _ := fd.Type.Elem().FieldByName("pfd")
	sysfd, _ := pfd.Type.FieldByName("Sysfd")
	fmt.Println("net.netFD.sysfd", pfd.Offset+sysfd.Offset)
	for name, value := range map[string]context.Context{
		"context.valueCtx":  context.WithValue(context.Background(), key{}, 1),
		"context.timerCtx":  timer(),
		"context.cancelCtx": cancel(),
	} {
		typ := reflect.TypeOf(value).Elem()
		fmt.Println(name+".parent", parent(typ))
	}
	without := reflect.TypeOf(context.WithoutCancel(context.Background()))
	fmt.Println("context.withoutCancelCtx.parent", parent(without))
}

// parent finds where a context type keeps its parent, through embedded contexts.
func parent(typ reflect.Type) uintptr {
	field := typ.Field(0)
	if field.Type.Kind() == reflect.Struct {
		return field.Offset + parent(field.Type)
	}
	return field.Offset
}

func timer() context.Context {
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	_ = stop
	return ctx
}

func cancel() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	_ = stop
	return ctx
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "layout" {
		layout()
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	if err := http.Serve(listener, http.HandlerFunc(handler)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
