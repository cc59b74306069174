//go:build linux && (amd64 || arm64)

package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func (h *host) oomKills(rec *record) int {
	if rec.Cgroup == "" || h.cgroup == nil {
		return 0
	}
	return h.cgroup.Open(rec.Cgroup).OOMKills()
}

func (h *host) stats(rec *record) (*drivers.Stats, error) {
	if rec.Exit != nil {
		return nil, structs.Errorf(structs.Conflict, "task "+rec.Launch.ID, "it has ended")
	}
	st := &drivers.Stats{Time: structs.At(time.Now())}
	if rec.Cgroup == "" || h.cgroup == nil {
		walk(rec.PID, st)
		return st, nil
	}
	u := h.cgroup.Open(rec.Cgroup).Usage()
	st.CPUTime, st.Throttled = structs.Duration(u.CPU), structs.Duration(u.Throttled)
	st.IO, st.Pressure = u.IO, u.Pressure
	st.Memory, st.MemoryMax, st.Limit, st.OOMKills, st.Pids = u.Memory, u.Peak, u.Limit, u.OOMKills, u.Pids
	return st, nil
}

// walk adds up a process and its descendants: what there is without cgroups.
func walk(pid int, st *drivers.Stats) {
	f := statFields(pid)
	if len(f) < 22 {
		return
	}
	const tick = int64(time.Second) / 100 // USER_HZ
	for _, i := range []int{11, 12, 13, 14} {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		st.CPUTime += structs.Duration(n * tick)
	}
	rss, _ := strconv.ParseInt(f[21], 10, 64)
	st.Memory += structs.Bytes(rss * int64(os.Getpagesize()))
	st.MemoryMax = max(st.MemoryMax, st.Memory)
	st.Pids++
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for child := range strings.FieldsSeq(string(raw)) {
		if n, err := strconv.Atoi(child); err == nil {
			walk(n, st)
		}
	}
}
