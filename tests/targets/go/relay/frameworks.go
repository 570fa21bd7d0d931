//go:build frameworks
// +build frameworks

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
)

type handler = func(context.Context, string) error

// framework makes a server of a router with the middleware that its users put before handlers.
func framework(name string, router func(handler) http.Handler) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 256}}
	register(name, protocol{
		serve: func(l net.Listener, h func(context.Context, string) error) {
			fmt.Fprintln(os.Stderr, http.Serve(l, router(h)))
		},
		call: callHTTP(client),
	})
}

func layers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := wrap(r.Context(), 4)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "done")
}

func ginRouter(fallback bool, of func(*gin.Context) context.Context) func(handler) http.Handler {
	return func(h handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		engine := gin.New()
		engine.ContextWithFallback = fallback
		engine.Use(gin.Recovery(), func(c *gin.Context) {
			ctx, cancel := wrap(c.Request.Context(), 4)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
			c.Next()
		})
		engine.GET("/:what", func(c *gin.Context) {
			answer(c.Writer, h(of(c), c.GetHeader("x-truth-id")))
		})
		return engine
	}
}

func init() {
	framework("gin", ginRouter(false, func(c *gin.Context) context.Context { return c.Request.Context() }))
	// gin's own context in place of the request's.
	framework("gincontext", ginRouter(true, func(c *gin.Context) context.Context { return c }))
	framework("echo", func(h handler) http.Handler {
		e := echo.New()
		e.Use(echomiddleware.Recover(), echomiddleware.RequestID(), echomiddleware.ContextTimeout(time.Minute))
		e.GET("/:what", func(c echo.Context) error {
			answer(c.Response(), h(c.Request().Context(), c.Request().Header.Get("x-truth-id")))
			return nil
		})
		return e
	})
	framework("chi", func(h handler) http.Handler {
		r := chi.NewRouter()
		r.Use(middleware.RequestID, middleware.Recoverer, middleware.Timeout(time.Minute), layers)
		r.Route("/", func(r chi.Router) {
			r.Get("/{what}", func(w http.ResponseWriter, r *http.Request) {
				answer(w, h(r.Context(), r.Header.Get("x-truth-id")))
			})
		})
		return r
	})
	framework("gorilla", func(h handler) http.Handler {
		r := mux.NewRouter()
		r.Use(mux.MiddlewareFunc(layers))
		r.HandleFunc("/{what}", func(w http.ResponseWriter, r *http.Request) {
			answer(w, h(r.Context(), r.Header.Get("x-truth-id")))
		}).Methods("GET")
		return r
	})
}
