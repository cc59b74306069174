package fingerprint

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

type fixed struct {
	gpus []GPU
	err  error
}

func (f *fixed) List(context.Context) ([]GPU, error) { return f.gpus, f.err }

func TestThisMachine(t *testing.T) {
	machine := mock.NewMachine(false)
	gpus := &fixed{gpus: []GPU{{ID: "GPU-1", Model: "A100", Memory: 40 << 30}, {ID: "GPU-2", Model: "A100", Memory: 40 << 30}}}
	c := Config{DataDir: t.TempDir(), Attributes: map[string]string{"zone": "z1", "os.name": "mine"}, Meta: map[string]string{"rack": "r1"},
		Resources: structs.Resources{CPU: 7000, Custom: map[string]structs.Milli{"licenses": 2000},
			Sets: map[string][]string{"disks": {"sda"}}, Ranges: map[string][]structs.Range{"vlans": {{First: 1, Last: 9}}}},
		Reserved: structs.Resources{CPU: 500}, Drivers: []drivers.Driver{mock.New(machine)}, GPUs: gpus}
	n, err := Machine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r := n.Resources
	if r.CPU != 7000 || r.Memory < 1<<20 || r.Disk <= 0 || r.Ports != 12001 || r.Custom["gpus"] != 2000 || r.Custom["licenses"] != 2000 ||
		len(r.Sets) != 1 || len(r.Ranges) != 1 || n.PortRange != DefaultPorts || len(n.Hosts) == 0 || n.Meta["rack"] != "r1" {
		t.Errorf("%+v", n)
	}
	for name, want := range map[string]string{"kernel.name": runtime.GOOS, "cpu.arch": runtime.GOARCH, "zone": "z1", "os.name": "mine", "driver.mock": "1",
		"gpu.count": "2", "gpu.model": "A100", "gpu.1.id": "GPU-2"} {
		if got := n.Attributes[name]; got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"kernel.version", "cpu.cores", "memory.bytes", "disk.bytes", "network.ip"} {
		if n.Attributes[name] == "" {
			t.Errorf("%s is not known", name)
		}
	}
	if Again(t.Context(), n, c) != n {
		t.Error("it changed by looking")
	}
	machine.Pull("web:1", 7)
	kept := c
	kept.KeepImages = true
	if Again(t.Context(), n, kept) != n {
		t.Error("images alone count")
	}
	m := Again(t.Context(), n, c)
	if m == n || SameImages(m, n) || m.Drivers["mock"].Images["docker.io/library/web:1"] != 7 {
		t.Errorf("a new image: %+v", m.Drivers["mock"])
	}
	machine.Remove("web:1")
	if again := Again(t.Context(), m, kept); again != m {
		t.Errorf("an image that goes is forgotten at once: %+v", again.Drivers["mock"])
	}
	gpus.gpus = gpus.gpus[:1]
	if m := Again(t.Context(), n, c); m == n || m.Resources.Custom["gpus"] != 1000 || m.Attributes["gpu.1.id"] != "" || n.Attributes["gpu.1.id"] == "" {
		t.Errorf("a lost device: %+v", m)
	}
	gpus.err = errors.New("broken")
	if m := Again(t.Context(), n, c); m.Resources.Custom["gpus"] != 0 || m.Attributes["gpu.error"] != "broken" {
		t.Errorf("a broken tool: %+v", m)
	}
	c.Held = structs.Resources{Disk: 1 << 59, Custom: map[string]structs.Milli{"gpus": 1500}}
	c.Reserved.Disk = 1 << 40
	if m := Again(t.Context(), n, c); m.Resources.Custom["gpus"] != 1500 {
		t.Errorf("a broken tool takes held devices away: %+v", m)
	}
	if m, err := Machine(t.Context(), c); err != nil || m.Resources.Custom["gpus"] != 1500 || m.Available().Disk != 1<<59 {
		t.Errorf("what is held does not fit: %+v, %v", m, err)
	}
}

func TestWrongConfiguration(t *testing.T) {
	for name, c := range map[string]Config{
		"ports":                  {PortRange: structs.Range{First: 70000, Last: 70001}},
		"reserved":               {Reserved: structs.Resources{Memory: 1 << 50}},
		"negative":               {Resources: structs.Resources{CPU: -1}},
		"for no role":            {ReservedFor: map[string]*structs.Resources{"a//b": {CPU: 1}}},
		"ports for a role":       {ReservedFor: map[string]*structs.Resources{"a": {Ports: 1}}},
		"other ports for a role": {PortRange: structs.Range{First: 31000, Last: 31999}, ReservedFor: map[string]*structs.Resources{"a": ports(80, 80)}},
		"ports for two roles": {PortRange: structs.Range{First: 31000, Last: 31999},
			ReservedFor: map[string]*structs.Resources{"a": ports(31000, 31001), "b": ports(31001, 31002)}},
		"too much for roles": {Reserved: structs.Resources{CPU: 1}, Resources: structs.Resources{CPU: 1000},
			ReservedFor: map[string]*structs.Resources{"a": {CPU: 500}, "b": {CPU: 500}}},
	} {
		c.DataDir, c.GPUs = t.TempDir(), &fixed{}
		if _, err := Machine(t.Context(), c); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Machine(t.Context(), Config{DataDir: "/no/such/folder"}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("no folder: %v", err)
	}
}

func ports(first, last int64) *structs.Resources {
	return new(structs.OfPorts([]structs.Range{{First: first, Last: last}}))
}

func TestReservedForRoles(t *testing.T) {
	n, err := Machine(t.Context(), Config{DataDir: t.TempDir(), GPUs: &fixed{}, Resources: structs.Resources{CPU: 1000},
		ReservedFor: map[string]*structs.Resources{"a": {CPU: 1000, Custom: map[string]structs.Milli{"gpus": 8000}}}})
	if err != nil || n.ReservedFor["a"].CPU != 1000 {
		t.Errorf("all of it, and devices that are gone: %v", err)
	}
}

func TestParseNVIDIA(t *testing.T) {
	got := parseNVIDIA([]byte("GPU-5e, NVIDIA A100-SXM4-40GB, 40960\nnonsense\nGPU-6f, Tesla T4, [N/A]\nGPU-7a, Tesla T4, 15360\n"))
	if len(got) != 2 || got[0].ID != "GPU-5e" || got[0].Model != "NVIDIA A100-SXM4-40GB" || got[0].Memory != 40960<<20 || got[1].ID != "GPU-7a" {
		t.Errorf("%+v", got)
	}
}

// hoarder has more images than anybody wants to know, by short names.
type hoarder struct{ *mock.Driver }

func (hoarder) Fingerprint(context.Context) *structs.Driver {
	d := &structs.Driver{Healthy: true, Images: map[string]structs.Bytes{"large:1": 1 << 40}}
	for i := range 2 * structs.MaxImages {
		d.Images[fmt.Sprint("small:", i)] = structs.Bytes(i)
	}
	return d
}

// Of many images the largest are told, by their full names.
func TestManyImages(t *testing.T) {
	d := Drivers(t.Context(), []drivers.Driver{hoarder{mock.New(nil)}})["mock"]
	if len(d.Images) != structs.MaxImages || d.Images["docker.io/library/large:1"] != 1<<40 || d.Images["docker.io/library/small:0"] != 0 {
		t.Errorf("%d images", len(d.Images))
	}
}
