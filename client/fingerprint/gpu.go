package fingerprint

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// GPU is one device.
type GPU struct {
	ID     string
	Model  string
	Memory structs.Bytes
}

// GPUs lists the devices of a machine. None, without an error, when there is no such hardware.
type GPUs interface {
	List(ctx context.Context) ([]GPU, error)
}

// NVIDIA asks nvidia-smi, when it is installed.
type NVIDIA struct{}

// List runs the tool, for at most 5 s.
func (NVIDIA) List(ctx context.Context) ([]GPU, error) {
	tool, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, tool, "it failed: %w", err)
	}
	return parseNVIDIA(out), nil
}

// parseNVIDIA reads lines such as "GPU-5e…, NVIDIA A100-SXM4-40GB, 40960" (memory in MiB); others are left out.
func parseNVIDIA(out []byte) (gpus []GPU) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		parts := strings.Split(lines.Text(), ",")
		if len(parts) != 3 {
			continue
		}
		mib, err := strconv.ParseInt(strings.TrimSpace(parts[2]), 10, 64)
		if err != nil || mib < 0 {
			continue
		}
		gpus = append(gpus, GPU{strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1]), structs.Bytes(mib) << 20})
	}
	return gpus
}

func isDeviceAttribute(name string) bool { return strings.HasPrefix(name, "gpu.") }

// devices adds the GPUs, unless the operator said how many there are.
func devices(ctx context.Context, n *structs.Node, c Config) {
	prober := c.GPUs
	if prober == nil {
		prober = NVIDIA{}
	}
	gpus, err := prober.List(ctx)
	if err != nil {
		n.Attributes["gpu.error"] = err.Error()
		if held := c.Held.Custom["gpus"]; held > 0 {
			addGPUs(n, c, held) // no more are given out, and none is taken away
		}
		return
	}
	if len(gpus) == 0 {
		return
	}
	n.Attributes["gpu.count"] = strconv.Itoa(len(gpus))
	n.Attributes["gpu.model"] = gpus[0].Model
	n.Attributes["gpu.memory"] = strconv.FormatInt(int64(gpus[0].Memory), 10)
	for i, g := range gpus {
		n.Attributes["gpu."+strconv.Itoa(i)+".id"] = g.ID
	}
	addGPUs(n, c, structs.Milli(len(gpus))*1000)
}

func addGPUs(n *structs.Node, c Config, gpus structs.Milli) {
	if _, said := c.Resources.Custom["gpus"]; !said {
		n.Resources = n.Resources.Add(structs.Resources{Custom: map[string]structs.Milli{"gpus": gpus}})
	}
}
