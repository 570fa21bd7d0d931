package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// alive embeds a connection by its type, as listeners that set TCP's options do.
type alive struct{ *net.TCPConn }

// counted embeds one behind an interface, as those that count, limit or time do.
type counted struct {
	net.Conn
	read, written int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	atomic.AddInt64(&c.read, int64(n))
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	atomic.AddInt64(&c.written, int64(n))
	return n, err
}

func wrapped(conn net.Conn) net.Conn {
	if plain, ok := conn.(*net.TCPConn); ok {
		return &counted{Conn: &alive{plain}}
	}
	return &counted{Conn: conn}
}

type wrappers struct{ net.Listener }

func (l wrappers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return wrapped(conn), nil
}

// wrapListener has every connection wrapped, with TLS beneath another wrapper.
func wrapListener(l net.Listener, config *tls.Config) net.Listener {
	if config == nil {
		return wrappers{l}
	}
	return wrappers{tls.NewListener(wrappers{l}, config)}
}

func wrapDials(transport *http.Transport) {
	dialer := &net.Dialer{}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrapped(conn), nil
	}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := transport.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, transport.TLSClientConfig)
		return wrapped(secured), secured.Handshake()
	}
}
