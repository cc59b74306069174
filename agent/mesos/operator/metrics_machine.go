package operator

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// system has what the machine says of itself, where it says it.
func (f figures) system() {
	f["system/cpus_total"] = float64(runtime.NumCPU())
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		fields := strings.Fields(string(raw))
		for i, name := range [...]string{"1min", "5min", "15min"} {
			if i < len(fields) {
				if x, err := strconv.ParseFloat(fields[i], 64); err == nil {
					f["system/load_"+name] = x
				}
			}
		}
	}
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			name, rest, _ := strings.Cut(line, ":")
			key, wanted := map[string]string{"MemTotal": "system/mem_total_bytes", "MemFree": "system/mem_free_bytes"}[name]
			if fields := strings.Fields(rest); wanted && len(fields) > 0 {
				if kib, err := strconv.ParseFloat(fields[0], 64); err == nil {
					f[key] = kib * 1024
				}
			}
		}
	}
}

// stats writes what /system/stats.json says.
func (e *encoder) stats() {
	f := figures{}
	f.system()
	e.open('{')
	e.key("cpus_total")
	e.int(int64(runtime.NumCPU()))
	for _, name := range [...][2]string{{"system/load_1min", "avg_load_1min"}, {"system/load_5min", "avg_load_5min"},
		{"system/load_15min", "avg_load_15min"}, {"system/mem_total_bytes", "mem_total_bytes"}, {"system/mem_free_bytes", "mem_free_bytes"}} {
		if x, there := f[name[0]]; there {
			e.key(name[1])
			e.comma()
			e.buf = appendNumber(e.buf, x)
		}
	}
	e.close('}')
}
