package structs

import (
	"fmt"
	"testing"
)

// A service is told where it can be reached: at the node's address where a port of the node leads to the allocation, else at its own, or as it says.
func TestWhereAServiceIs(t *testing.T) {
	n := &Node{Hosts: []string{"10.0.0.1"}, Attributes: map[string]string{AttrPorts + "led": "true"}}
	a := &Allocation{Tasks: map[string]*TaskState{"alone": {}, "t": {Addresses: []string{"172.30.64.2", "fd00::2"},
		Joined: []JoinedNetwork{{Name: "led", Addresses: []string{"10.1.0.2"}}, {Name: "flat", Addresses: []string{"10.2.0.2"}}}}}}
	port := func(network string) *AssignedPort {
		return &AssignedPort{Label: "p", Host: "10.0.0.7", Port: 20001, To: 80, Network: network}
	}
	for i, x := range []struct {
		network, mode string
		port          *AssignedPort
		want          string
	}{
		{"", "", port(""), "10.0.0.7:20001"},
		{"", "", nil, "10.0.0.1:0"},
		{"bridge", "", port(""), "10.0.0.7:20001"},
		{"bridge", "auto", nil, "10.0.0.1:0"},
		{"bridge", "alloc", port(""), "172.30.64.2:80"},
		{"bridge", "alloc", nil, "172.30.64.2:0"},
		{"bridge", "", port("led"), "10.0.0.7:20001"},
		{"bridge", "", port("flat"), "10.2.0.2:80"},
		{"bridge", "alloc", port("led"), "10.1.0.2:80"},
		{"bridge", "host", port("flat"), "10.0.0.7:20001"},
		{"cni/led", "", port(""), "10.0.0.7:20001"},
		{"cni/led", "", nil, "172.30.64.2:0"},
		{"cni/flat", "", port(""), "172.30.64.2:80"},
		{"cni/flat", "", nil, "172.30.64.2:0"},
		{"cni/flat", "host", nil, "10.0.0.1:0"},
	} {
		g := &Group{Tasks: []*Task{{Name: "gone"}, {Name: "alone"}, {Name: "t"}}, Network: &Network{Mode: x.network}}
		address, number := (&Service{AddressMode: x.mode}).At(g, a, x.port, n)
		if got := fmt.Sprintf("%s:%d", address, number); got != x.want {
			t.Errorf("%d: %s, want %s", i, got, x.want)
		}
	}
	// What is not known yet, and a node that is not known any more.
	g := &Group{Tasks: []*Task{{Name: "t"}}, Network: &Network{Mode: "cni/flat"}}
	if address, number := (&Service{}).At(g, &Allocation{}, port(""), n); address != "10.0.0.7" || number != 20001 {
		t.Errorf("without addresses: %s:%d", address, number)
	}
	if address, _ := (&Service{}).At(&Group{}, &Allocation{}, nil, nil); address != "" {
		t.Errorf("without a node: %s", address)
	}
}
