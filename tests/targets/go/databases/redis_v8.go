//go:build !go1.21
// +build !go1.21

package main

import (
	"context"
	"time"

	"github.com/go-redis/redis/v8"
)

func init() {
	openers = append(openers, func(address, _ string) error {
		if address == "" {
			return nil
		}
		rdb := redis.NewClient(&redis.Options{Addr: address, PoolSize: 16})
		clients["redis"] = func(ctx context.Context, name string) error {
			return rdb.Set(ctx, name, "value", time.Minute).Err()
		}
		clients["redispipe"] = func(ctx context.Context, name string) error {
			_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, name, "value", time.Minute)
				p.Get(ctx, name)
				return nil
			})
			return err
		}
		return nil
	})
}
