package taskdir

import (
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// devices tells the task, and the runtime of its container, what it has for itself alone. A runtime gives a container the GPUs that the
// variable names, and all of them when an image says so: what the node gave wins over the job and the image.
func (sc *Scope) devices() {
	s := &sc.subject
	if len(s.Cores) > 0 {
		var list []string
		for _, n := range s.Cores {
			list = append(list, strconv.Itoa(n))
		}
		sc.env["PROFFER_CORES"] = strings.Join(list, ",")
	}
	var gpus []string
	for _, d := range s.Devices {
		if structs.IsGPU(d.Resource) {
			gpus = append(gpus, d.ID)
		}
	}
	switch {
	case len(gpus) > 0:
		sc.env["NVIDIA_VISIBLE_DEVICES"] = strings.Join(gpus, ",")
	case s.Node.Attributes["gpu.count"] != "":
		sc.env["NVIDIA_VISIBLE_DEVICES"] = "void"
	}
}
