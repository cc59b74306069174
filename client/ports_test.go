package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// GivePorts notes what the driver is told.
func (g *gate) GivePorts(_ context.Context, alloc structs.AllocID, ports []structs.AssignedPort) error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	if err := g.w.unkept; err != nil {
		return err
	}
	var list []string
	for _, p := range ports {
		list = append(list, fmt.Sprint(p.Port))
	}
	g.w.given = append(g.w.given, string(alloc)+":"+strings.Join(list, "+"))
	return nil
}

// wasGiven demands what drivers were told of ports since the last time.
func (w *world) wasGiven(want string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.given, " "); got != want {
		w.t.Errorf("the driver was told %q, not %q", got, want)
	}
	w.given = nil
}

func (w *world) ports(id string, list ...int) {
	a := w.change(id, func(a *structs.Allocation) { a.Ports = nil })
	for _, port := range list {
		a.Ports = append(a.Ports, structs.AssignedPort{Port: port})
	}
}

// The ports of tasks that an executor is given later are those of its process before it hears of the tasks, and again after a restart.
func TestPortsOfAnExecutor(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.executor("a", serves, "one")
		w.ports("a", 20001)
		w.want(w.allocs["a"])
		after(time.Second)
		w.wasGiven("")
		p.subscribe(nil)
		p.hears("launch one false")
		w.wasGiven("a:20001")
		w.mu.Lock()
		w.unkept = errors.New("the supervisor is away")
		w.mu.Unlock()
		w.ports("a", 20001, 20002)
		p.add(false, "two")
		if _, err := p.stream.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "away") {
			t.Errorf("without its port: %v", err)
		}
		w.mu.Lock()
		w.unkept = nil
		w.mu.Unlock()
		p.hears("launch two false")
		w.wasGiven("a:20001+20002")
		p.add(false, "three")
		p.hears("launch three false")
		w.wasGiven("")
	})
}

// What a pod has no more, the tasks that go on in it have no more either.
func TestPortsOfAPod(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.pod("a", member{name: "one", config: serves, launch: 1})
		after(time.Second)
		w.ports("a", 20001)
		p.add(member{name: "two", config: serves, launch: 2})
		after(time.Second)
		w.wasGiven("a:20001")
		w.ports("a")
		p.kill("two")
		after(10 * time.Second)
		w.wasGiven("a:")
	})
}
