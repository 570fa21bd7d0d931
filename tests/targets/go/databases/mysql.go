//go:build mysql
// +build mysql

package main

import (
	"context"
	"database/sql"
	"flag"
	"strings"

	_ "github.com/go-sql-driver/mysql"
)

var mysqlName = flag.String("mysql", "", "data source name of MySQL")

func mysqlQuery(name string) string { return strings.ReplaceAll(query(name), `"`, "`") }

func init() {
	openers = append(openers, func(_, _ string) error {
		if *mysqlName == "" {
			return nil
		}
		db, err := sql.Open("mysql", *mysqlName)
		if err != nil {
			return err
		}
		db.SetMaxIdleConns(16)
		clients["mysql"] = func(ctx context.Context, name string) error {
			var one int
			return db.QueryRowContext(ctx, mysqlQuery(name)).Scan(&one)
		}
		// With a parameter: prepared, executed and closed.
		clients["mysqlprepared"] = func(ctx context.Context, name string) error {
			var one int
			text := strings.Replace(mysqlQuery(name), "1", "?", 1)
			return db.QueryRowContext(ctx, text, 1).Scan(&one)
		}
		clients["mysqltx"] = func(ctx context.Context, name string) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, mysqlQuery(name)); err != nil {
				return err
			}
			return tx.Commit()
		}
		return nil
	})
}
