package client

import (
	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/structs"
)

// foundGPUs puts the GPUs of the machine into the stock.
func (c *Client) foundGPUs(gpus []fingerprint.GPU, resources []string, err error) {
	if err != nil {
		c.node.Stock.Offer(nil, err.Error())
		return
	}
	var list []runner.Device
	for i, g := range gpus {
		list = append(list, runner.Device{AssignedDevice: structs.AssignedDevice{Resource: resources[i], ID: g.ID, Model: g.Model}, Nodes: g.Nodes})
	}
	c.node.Stock.Offer(list, "")
}
