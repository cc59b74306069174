package fingerprint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// A folder that looks like a machine with four GPUs, two of a kind, is told as one: resources by model, memory from the tool, nodes by
// the numbers of the kernel module. The numbers of the nodes are those of /dev/null.
func TestDevicesOfAFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("device nodes need root")
	}
	root := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	card := func(bus, model, id, minor string) {
		write("proc/driver/nvidia/gpus/"+bus+"/information", fmt.Sprintf("Model: \t\t %s\nIRQ:   \t\t 1\nGPU UUID: \t %s\nBus Location: \t %s\nDevice Minor: \t %s\n", model, id, bus, minor), 0o644)
	}
	card("0000:01:00.0", "NVIDIA A100-SXM4-40GB", "GPU-a", "1")
	card("0000:02:00.0", "NVIDIA A100-SXM4-40GB", "GPU-b", "0")
	card("0000:03:00.0", "Tesla T4", "GPU-c", "10")
	card("0000:04:00.0", "Tesla T4", "GPU-??", "3") // nobody has used it since the boot
	write("usr/bin/nvidia-smi", "#!/bin/sh\ncase $1 in *utilization*) echo 'GPU-a, 42, 1024, 40960'; echo 'GPU-b, [N/A], 0, 40960';; "+
		"*) echo 'GPU-a, NVIDIA A100-SXM4-40GB, 40960'; echo 'GPU-b, NVIDIA A100-SXM4-40GB, 40960';; esac\n", 0o755)
	for _, name := range []string{"nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"} {
		write("dev/.keep", "", 0o644)
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Fatal(err)
		}
	}
	write("dev/nvidia10", "no device", 0o644)
	n := NVIDIA{Root: root}
	var seen []string
	c := Config{DataDir: t.TempDir(), GPUs: n, Found: func(gpus []GPU, resources []string, err error) {
		for i, g := range gpus {
			s := resources[i] + " " + g.ID + " " + g.Memory.Human()
			for _, d := range g.Nodes {
				s += " " + d.Path + strings.TrimPrefix(":"+d.ID, ":")
			}
			seen = append(seen, s)
		}
	}}
	node, err := Machine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gpus GPU-b 40GiB /dev/nvidia0GPU-b /dev/nvidiactl /dev/nvidia-uvm", "gpus GPU-a 40GiB /dev/nvidia1GPU-a /dev/nvidiactl /dev/nvidia-uvm",
		"gpus-tesla-t4 GPU-c 0B /dev/nvidiactl /dev/nvidia-uvm"}
	if got, want := strings.Join(seen, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r := node.Resources.Custom; r["gpus"] != 2000 || r["gpus-tesla-t4"] != 1000 || node.Attributes["gpu.model"] != "NVIDIA A100-SXM4-40GB" ||
		node.Attributes["gpu.2.model"] != "Tesla T4" || node.Attributes["gpu.memory"] != fmt.Sprint(40<<30) {
		t.Errorf("%v %v", r, node.Attributes)
	}
	usage, err := n.Usage(t.Context())
	if err != nil || usage["GPU-a"].Busy != 420 || usage["GPU-a"].Memory != 1<<30 || usage["GPU-b"].Busy != 0 {
		t.Errorf("%+v %v", usage, err)
	}
	// A device that is gone takes its resource along, on the next look.
	if err := os.RemoveAll(filepath.Join(root, "proc/driver/nvidia/gpus/0000:03:00.0")); err != nil {
		t.Fatal(err)
	}
	if again := Again(t.Context(), node, c); again.Resources.Custom["gpus-tesla-t4"] != 0 || again.Resources.Custom["gpus"] != structs.Milli(2000) {
		t.Errorf("%v", again.Resources.Custom)
	}
}
