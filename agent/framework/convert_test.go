package framework

import (
	"maps"
	"testing"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// A task with an image and no command says one without a program, for which the image's is run.
func TestAnImageAlone(t *testing.T) {
	on := &Offer{Node: "n"}
	if c := (&Task{ID: "a", Image: "x"}).wire(on, false).Command; c == nil || c.Value != nil || c.Shell == nil || *c.Shell {
		t.Errorf("%+v", c)
	}
	if c := (&Task{ID: "a", Image: "x", Executor: &ExecutorInfo{ID: "e"}}).wire(on, false).Command; c != nil {
		t.Errorf("with an executor: %+v", c)
	}
	if c := (&Task{ID: "a"}).wire(on, false).Command; c != nil {
		t.Errorf("with nothing: %+v", c)
	}
	if c := (&Task{ID: "a", Image: "x", Command: &Command{Args: []string{"ls", "-l"}}}).wire(on, false).Command; *c.Value != "ls" || len(c.Arguments) != 2 {
		t.Errorf("with a command: %+v", c)
	}
}

// An attribute is what the node has, of whatever type it travels.
func TestAttributesOfAnOffer(t *testing.T) {
	meta := map[string]string{"rack": "r1", "cores": "7", "share": "2.5", "version": "1.10", "span": "[1-10, 20-30]", "empty": ""}
	if got := offerOf(&wire.Offer{Attributes: mesos.AttributesOf(meta)}).Attributes; !maps.Equal(got, meta) {
		t.Errorf("they are %v", got)
	}
}
