package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	own  tls.Certificate
	once sync.Once
)

// certificate is made at the first use; nobody checks it.
func certificate() *tls.Certificate {
	once.Do(func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1),
			Subject:      pkix.Name{CommonName: "relay"},
			NotAfter:     time.Now().Add(24 * time.Hour),
			IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		own = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	})
	return &own
}

func insecure() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
}

// net/http's own HTTP/2, over TLS.
func init() {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   insecure(),
		ForceAttemptHTTP2: true,
	}}
	register("h2s", protocol{
		serve: func(l net.Listener, handler func(context.Context, string) error) {
			server := &http.Server{
				Handler:   serveHTTP(handler),
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{*certificate()}},
			}
			fmt.Fprintln(os.Stderr, server.ServeTLS(l, "", ""))
		},
		call: callOver("https", client),
	})
}
