//go:build linux

package main

import "context"

func measureGossip(context.Context, *bench) error { return nil }
