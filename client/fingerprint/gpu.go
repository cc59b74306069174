package fingerprint

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// GPU is one device.
type GPU struct {
	ID     string
	Model  string
	Memory structs.Bytes // 0: unknown
	Nodes  []drivers.Device
}

// GPUs lists the devices of a machine. None, without an error, when there is no such hardware.
type GPUs interface {
	List(ctx context.Context) ([]GPU, error)
}

// Meter measures GPUs.
type Meter interface {
	// Usage says what each device does now, by ID. What cannot be told is left out.
	Usage(ctx context.Context) (map[string]*drivers.GPUStats, error)
}

// NVIDIA finds devices by what their kernel module says, and asks nvidia-smi for the rest when it is installed.
type NVIDIA struct {
	// Root is where /dev, /proc/driver/nvidia and the tools of the driver are, for one that lives in a folder of its own such as
	// /run/nvidia/driver. Empty: the top.
	Root string
}

// toolLimit is how long the tool may take.
const toolLimit = 5 * time.Second

func (n NVIDIA) query(ctx context.Context, what string) ([]byte, error) {
	tool := filepath.Join(cmp.Or(n.Root, "/"), "usr/bin/nvidia-smi")
	if n.Root == "" {
		var err error
		if tool, err = exec.LookPath("nvidia-smi"); err != nil {
			return nil, nil
		}
	} else if _, err := os.Stat(tool); err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "--query-gpu="+what, "--format=csv,noheader,nounits").Output()
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, tool, "it failed: %w", err)
	}
	return out, nil
}

// List puts together what the tool says and /proc/driver/nvidia/gpus/*/information, where alone the numbers of device nodes are.
func (n NVIDIA) List(ctx context.Context) ([]GPU, error) {
	out, err := n.query(ctx, "uuid,name,memory.total")
	if err != nil {
		return nil, err
	}
	gpus := parseNVIDIA(out)
	cards, err := filepath.Glob(filepath.Join(cmp.Or(n.Root, "/"), "proc/driver/nvidia/gpus/*/information"))
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "client.gpu_root", "%w", err)
	}
	for _, path := range cards {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, structs.Errorf(structs.Unavailable, path, "%w", err)
		}
		card := parseInformation(raw)
		if card.ID == "" || strings.Contains(card.ID, "?") {
			continue // it is not initialized
		}
		if i := slices.IndexFunc(gpus, func(g gpu) bool { return g.ID == card.ID }); i >= 0 {
			gpus[i].minor = card.minor
		} else {
			gpus = append(gpus, card)
		}
	}
	slices.SortFunc(gpus, func(a, b gpu) int {
		return cmp.Or(cmp.Compare(len(a.minor), len(b.minor)), cmp.Compare(a.minor, b.minor), cmp.Compare(a.ID, b.ID))
	})
	list := make([]GPU, 0, len(gpus))
	for _, g := range gpus {
		g.Nodes = n.nodes(g.minor, g.ID)
		list = append(list, g.GPU)
	}
	return list, nil
}

// nodes are those of one device that exist, and those that all share.
func (n NVIDIA) nodes(minor, id string) (out []drivers.Device) {
	add := func(name, id string) {
		host := filepath.Join(cmp.Or(n.Root, "/"), "dev", name)
		if info, err := os.Stat(host); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			out = append(out, drivers.Device{Host: host, Path: "/dev/" + name, Perms: "rw", ID: id})
		}
	}
	if _, err := strconv.Atoi(minor); err == nil {
		add("nvidia"+minor, id)
	}
	for _, name := range []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"} {
		add(name, "")
	}
	return out
}

// Usage asks the tool.
func (n NVIDIA) Usage(ctx context.Context) (map[string]*drivers.GPUStats, error) {
	out, err := n.query(ctx, "uuid,utilization.gpu,memory.used,memory.total")
	if err != nil {
		return nil, err
	}
	all := map[string]*drivers.GPUStats{}
	for parts := range columns(out, 4) {
		s := &drivers.GPUStats{ID: parts[0]}
		if percent, err := strconv.ParseInt(parts[1], 10, 32); err == nil && percent >= 0 && percent <= 100 {
			s.Busy = structs.Milli(percent * 10)
		}
		s.Memory, s.MemoryTotal = mebibytes(parts[2]), mebibytes(parts[3])
		all[s.ID] = s
	}
	return all, nil
}

// gpu is one with the number of its device node.
type gpu struct {
	GPU
	minor string
}

// parseNVIDIA reads lines such as "GPU-5e…, NVIDIA A100-SXM4-40GB, 40960" (memory in MiB); others are left out.
func parseNVIDIA(out []byte) (gpus []gpu) {
	for parts := range columns(out, 3) {
		if memory := mebibytes(parts[2]); memory > 0 {
			gpus = append(gpus, gpu{GPU: GPU{ID: parts[0], Model: parts[1], Memory: memory}})
		}
	}
	return gpus
}

// columns are the lines with at least so many fields.
func columns(out []byte, least int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			parts := strings.Split(lines.Text(), ",")
			for i := range parts {
				parts[i] = strings.TrimSpace(parts[i])
			}
			if len(parts) >= least && !yield(parts) {
				return
			}
		}
	}
}

func mebibytes(text string) structs.Bytes {
	n, err := strconv.ParseInt(text, 10, 40)
	if err != nil || n < 0 {
		return 0
	}
	return structs.Bytes(n) << 20
}

// parseInformation reads what the kernel module says of one device: "Model:", "GPU UUID:" and "Device Minor:", a line each.
func parseInformation(raw []byte) (g gpu) {
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "Model":
			g.Model = value
		case "GPU UUID":
			g.ID = value
		case "Device Minor":
			g.minor = value
		}
	}
	return g
}

func isDeviceAttribute(name string) bool { return strings.HasPrefix(name, "gpu.") }

// resourcesOf names the resource of each device. Devices of one resource are alike, so that any of them is as good as another: the model
// that the node has most of (the first by name among equals) is gpus, each other one gpus-MODEL.
func resourcesOf(gpus []GPU) []string {
	count := map[string]int{}
	for _, g := range gpus {
		count[g.Model]++
	}
	most := ""
	for _, g := range gpus {
		if n := count[g.Model]; most == "" || n > count[most] || n == count[most] && g.Model < most {
			most = g.Model
		}
	}
	names := make([]string, len(gpus))
	for i, g := range gpus {
		if names[i] = structs.GPUs; g.Model != most {
			names[i] += "-" + slug(g.Model)
		}
	}
	return names
}

// slug makes a name of a model: "NVIDIA A100-SXM4-40GB" is a100-sxm4-40gb.
func slug(model string) string {
	model = strings.TrimPrefix(strings.ToLower(model), "nvidia ")
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, model), "-")
}

// devices adds the GPUs, unless the operator said how many there are.
func devices(ctx context.Context, n *structs.Node, c Config) {
	prober := c.GPUs
	if prober == nil {
		prober = NVIDIA{}
	}
	gpus, err := prober.List(ctx)
	names := resourcesOf(gpus)
	if c.Found != nil {
		c.Found(gpus, names, err)
	}
	if err != nil {
		n.Attributes["gpu.error"] = err.Error()
		for name, held := range c.Held.Custom {
			if structs.IsGPU(name) && held > 0 {
				addGPUs(n, c, name, held) // no more are given out, and none is taken away
			}
		}
		return
	}
	if len(gpus) == 0 {
		return
	}
	n.Attributes["gpu.count"] = strconv.Itoa(len(gpus))
	for i, g := range gpus {
		describe := func(at string) {
			n.Attributes[at+".model"] = g.Model
			if g.Memory > 0 {
				n.Attributes[at+".memory"] = strconv.FormatInt(int64(g.Memory), 10)
			}
		}
		if names[i] == structs.GPUs {
			describe("gpu")
		}
		describe(fmt.Sprintf("gpu.%d", i))
		n.Attributes[fmt.Sprintf("gpu.%d.id", i)] = g.ID
		addGPUs(n, c, names[i], 1000)
	}
}

func addGPUs(n *structs.Node, c Config, name string, gpus structs.Milli) {
	if _, said := c.Resources.Custom[name]; !said {
		n.Resources = n.Resources.Add(structs.Resources{Custom: map[string]structs.Milli{name: gpus}})
	}
}
