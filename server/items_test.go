package server

import (
	"fmt"
	"testing"

	"github.com/proffer/proffer/client/session"
)

// What a node wants beyond the bound is told as not known, and has its turn when there is room.
func TestWantsAreBounded(t *testing.T) {
	p := &provides{more: make(chan struct{}, 1)}
	ref := func(i int) session.Ref { return session.VariableRef(fmt.Sprint("eng/v", i)) }
	for i := range 3 * session.MaxWants {
		if p.takes(ref(i)) != (i < session.MaxWants) {
			t.Fatalf("%d", i)
		}
	}
	if len(p.wanted) != session.MaxWants || len(p.beyond) != session.MaxWants || len(p.queue) != session.MaxWants {
		t.Errorf("%d %d %d", len(p.wanted), len(p.beyond), len(p.queue))
	}
	if item := p.queue[ref(session.MaxWants)]; item == nil || !item.Unknown || item.Missing == "" {
		t.Errorf("%+v", item)
	}
	if got := p.again(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	delete(p.wanted, ref(0))
	if got := p.again(); len(got) != 1 || !p.takes(got[0]) || len(p.beyond) != session.MaxWants-1 {
		t.Errorf("%v", got)
	}
}
