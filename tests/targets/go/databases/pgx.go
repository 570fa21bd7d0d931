//go:build go1.21
// +build go1.21

package main

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func init() {
	openers = append(openers, func(_, postgres string) error {
		if postgres == "" {
			return nil
		}
		pool, err := pgxpool.New(context.Background(), postgres)
		if err != nil {
			return err
		}
		clients["pgx"] = func(ctx context.Context, name string) error {
			var one int
			return pool.QueryRow(ctx, query(name)).Scan(&one)
		}
		clients["sqlpgx"], clients["sqlpgxtx"], err = openSQL("pgx", postgres)
		return err
	})
}
