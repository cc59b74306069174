//go:build linux

package main

import (
	"bytes"
	"testing"

	"github.com/proffer/proffer/scheduler/simulate"
)

// A seed makes one trace, which can be read.
func TestWriteTrace(t *testing.T) {
	var first, second, other bytes.Buffer
	for _, run := range []struct {
		to   *bytes.Buffer
		seed uint64
	}{{&first, 1}, {&second, 1}, {&other, 2}} {
		if err := writeTrace(run.to, run.seed); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) || bytes.Equal(first.Bytes(), other.Bytes()) {
		t.Error("a seed does not decide alone")
	}
	if events, err := simulate.ReadTrace("trace", &first); err != nil || len(events) < 2500 {
		t.Errorf("%d events, %v", len(events), err)
	}
}
