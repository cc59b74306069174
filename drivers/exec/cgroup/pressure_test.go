//go:build linux

package cgroup

import (
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestPressureIsRead(t *testing.T) {
	var s drivers.Stall
	parseStall("some avg10=1.25 avg60=0.50 avg300=0.10 total=1500000\nfull avg10=99.99 avg60=0.00 avg300=0.00 total=7\nnonsense\nsome avg10=x total=\n", &s)
	want := drivers.Stall{Some: 12, Full: 999, SomeTotal: structs.Duration(1500 * time.Millisecond), FullTotal: structs.Duration(7 * time.Microsecond)}
	if s != want {
		t.Errorf("%+v", s)
	}
	if p := Pressure("/no such folder", ""); p != nil {
		t.Errorf("%+v", p)
	}
}
