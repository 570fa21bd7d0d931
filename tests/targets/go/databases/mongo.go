//go:build mongo
// +build mongo

package main

import (
	"context"
	"flag"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
)

var mongoURI = flag.String("mongo", "", "URI of MongoDB")

func init() {
	openers = append(openers, func(_, _ string) error {
		if *mongoURI == "" {
			return nil
		}
		c, err := mongo.Connect(context.Background(), options.Client().ApplyURI(*mongoURI))
		if err != nil {
			return err
		}
		// The name is a field's, which texts keep.
		clients["mongo"] = func(ctx context.Context, name string) error {
			found, err := c.Database("shop").Collection("items").Find(ctx, bson.M{name: "value"})
			if err != nil {
				return err
			}
			return found.Close(ctx)
		}
		return nil
	})
}
