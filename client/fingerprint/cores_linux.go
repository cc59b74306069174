package fingerprint

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cores are those that this process may use, threads of one core and cores of one package beside each other.
func Cores() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	type core struct{ n, pack, core int }
	var all []core
	for n := range len(set) * 64 {
		if !set.IsSet(n) {
			continue
		}
		at := func(what string) int {
			raw, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/%s", n, what))
			if err != nil {
				return 0
			}
			v, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
			return v
		}
		all = append(all, core{n, at("physical_package_id"), at("core_id")})
	}
	slices.SortFunc(all, func(a, b core) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.core, b.core), cmp.Compare(a.n, b.n))
	})
	out := make([]int, len(all))
	for i, c := range all {
		out[i] = c.n
	}
	return out
}
