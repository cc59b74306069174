package client

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/drivers"
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

// meter asks for what GPUs do, which takes long, once in a while.
type meter struct {
	gpus fingerprint.Meter

	mu   sync.Mutex
	at   time.Time
	last map[string]*drivers.GPUStats
}

const meterAge = 10 * time.Second

// read returns what was found within the last ten seconds. What fails is empty until the next time.
func (m *meter) read(ctx context.Context) map[string]*drivers.GPUStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) >= meterAge {
		m.last, _ = m.gpus.Usage(ctx)
		m.at = time.Now()
	}
	return m.last
}

// gpuMeter is that of the node; nil: its devices cannot be measured.
func (c *Client) gpuMeter() func(context.Context) map[string]*drivers.GPUStats {
	gpus, ok := c.config.GPUs.(fingerprint.Meter)
	if !ok {
		return nil
	}
	return (&meter{gpus: gpus}).read
}

// watchCores lets other tasks run on the cores of a task that has ended.
func (c *Client) watchCores(ctx context.Context) {
	for {
		select {
		case <-c.node.Stock.Moved():
			c.node.KeepOff(ctx)
		case <-ctx.Done():
			return
		}
	}
}
