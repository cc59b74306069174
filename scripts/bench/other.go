//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: the figures are about Linux, where tasks are isolated: run it there")
	os.Exit(1)
}
