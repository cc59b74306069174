package structs

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// Resources is an amount of everything that is shared: what a node has, what an allocation holds, what a role may use.
// Values are immutable once stored; the arithmetic returns new ones. A nil map is an empty one.
type Resources struct {
	CPU    Milli               `json:"cpu,omitempty"`    // cores
	Memory Bytes               `json:"memory,omitempty"` //
	Disk   Bytes               `json:"disk,omitempty"`   //
	Ports  int                 `json:"ports,omitempty"`  // how many host ports; which ones is Node.Ports and Allocation.Ports
	Custom map[string]Milli    `json:"custom,omitempty"` // any other scalar, "gpus" among them
	Ranges map[string][]Range  `json:"ranges,omitempty"` // any other range resource
	Sets   map[string][]string `json:"sets,omitempty"`   // any set resource; items sorted, each once
}

// Range is the whole numbers First to Last, both included.
type Range struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// IsZero reports whether r holds nothing.
func (r Resources) IsZero() bool {
	if r.CPU != 0 || r.Memory != 0 || r.Disk != 0 || r.Ports != 0 || len(r.Ranges) != 0 || len(r.Sets) != 0 {
		return false
	}
	for _, v := range r.Custom {
		if v != 0 {
			return false
		}
	}
	return true
}

// Add returns r + o. Ranges and sets are united.
func (r Resources) Add(o Resources) Resources {
	r.CPU += o.CPU
	r.Memory += o.Memory
	r.Disk += o.Disk
	r.Ports += o.Ports
	if len(o.Custom) > 0 {
		sum := maps.Clone(r.Custom)
		if sum == nil {
			sum = make(map[string]Milli, len(o.Custom))
		}
		for name, v := range o.Custom {
			sum[name] += v
		}
		r.Custom = sum
	}
	if len(o.Ranges) > 0 {
		sum := maps.Clone(r.Ranges)
		if sum == nil {
			sum = make(map[string][]Range, len(o.Ranges))
		}
		for name, v := range o.Ranges {
			sum[name] = uniteRanges(sum[name], v)
		}
		r.Ranges = sum
	}
	if len(o.Sets) > 0 {
		sum := maps.Clone(r.Sets)
		if sum == nil {
			sum = make(map[string][]string, len(o.Sets))
		}
		for name, v := range o.Sets {
			all := append(slices.Clone(sum[name]), v...)
			slices.Sort(all)
			sum[name] = slices.Compact(all)
		}
		r.Sets = sum
	}
	return r
}

// Sub returns r - o. Scalars may become negative; what is subtracted from a range or set and is not in it is ignored.
func (r Resources) Sub(o Resources) Resources {
	r.CPU -= o.CPU
	r.Memory -= o.Memory
	r.Disk -= o.Disk
	r.Ports -= o.Ports
	if len(o.Custom) > 0 {
		rest := maps.Clone(r.Custom)
		if rest == nil {
			rest = make(map[string]Milli, len(o.Custom))
		}
		for name, v := range o.Custom {
			rest[name] -= v
		}
		r.Custom = rest
	}
	if len(o.Ranges) > 0 && len(r.Ranges) > 0 {
		rest := maps.Clone(r.Ranges)
		for name, v := range o.Ranges {
			if left := subtractRanges(rest[name], v); len(left) > 0 {
				rest[name] = left
			} else {
				delete(rest, name)
			}
		}
		r.Ranges = rest
	}
	if len(o.Sets) > 0 && len(r.Sets) > 0 {
		rest := maps.Clone(r.Sets)
		for name, v := range o.Sets {
			left := slices.DeleteFunc(slices.Clone(rest[name]), func(s string) bool { return slices.Contains(v, s) })
			if len(left) > 0 {
				rest[name] = left
			} else {
				delete(rest, name)
			}
		}
		r.Sets = rest
	}
	return r
}

// Fits reports whether ask is at most r in every dimension. It is the arithmetic only; placement.Fits is the decision.
func (r Resources) Fits(ask Resources) bool {
	if ask.CPU > r.CPU || ask.Memory > r.Memory || ask.Disk > r.Disk || ask.Ports > r.Ports {
		return false
	}
	for name, v := range ask.Custom {
		if v > r.Custom[name] {
			return false
		}
	}
	for name, v := range ask.Ranges {
		if len(subtractRanges(v, r.Ranges[name])) > 0 {
			return false
		}
	}
	for name, v := range ask.Sets {
		for _, item := range v {
			if !slices.Contains(r.Sets[name], item) {
				return false
			}
		}
	}
	return true
}

// Names returns the names of the custom scalars in order.
func (r Resources) Names() []string { return slices.Sorted(maps.Keys(r.Custom)) }

// Problems adds what is wrong with r as an amount: negative or absurd numbers, bad names, empty or overlapping ranges.
func (r Resources) Problems(object string, into *Problems) {
	if r.CPU < 0 || r.Memory < 0 || r.Disk < 0 || r.Ports < 0 {
		into.Add(object, "amounts cannot be negative")
	}
	if r.Ports > 65535 {
		into.Add(object+".ports", "%d ports are more than there are", r.Ports)
	}
	if r.CPU > 1e9 {
		into.Add(object+".cpu", "%s cores are more than a million", r.CPU)
	}
	if r.Memory > 1<<52 || r.Disk > 1<<58 {
		into.Add(object, "an amount is out of range (memory up to 4PiB, disk up to 256PiB)")
	}
	for _, name := range r.Names() {
		if !ValidName(name) {
			into.Add(object+".custom", "%q is not a valid name", name)
		}
		if v := r.Custom[name]; v < 0 || v > 1e15 {
			into.Add(object+".custom."+name, "%s is out of range", v)
		}
	}
	for name, v := range r.Ranges {
		for i, x := range v {
			if x.First < 0 || x.Last < x.First || x.Last > 1<<53 || (i > 0 && x.First <= v[i-1].Last) {
				into.Add(object+".ranges."+name, "ranges must be ascending, disjoint, and from 0 to 2^53")
				break
			}
		}
	}
}

// String writes what is not zero: "cpu 0.5, memory 256MiB, gpus 1".
func (r Resources) String() string {
	var parts []string
	if r.CPU != 0 {
		parts = append(parts, "cpu "+r.CPU.String())
	}
	if r.Memory != 0 {
		parts = append(parts, "memory "+r.Memory.Human())
	}
	if r.Disk != 0 {
		parts = append(parts, "disk "+r.Disk.Human())
	}
	if r.Ports != 0 {
		parts = append(parts, fmt.Sprintf("ports %d", r.Ports))
	}
	for _, name := range r.Names() {
		amount := r.Custom[name].String()
		if _, is := DiskOf(name); is {
			amount = DiskSize(r.Custom[name]).Human()
		}
		parts = append(parts, name+" "+amount)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Ranges)) {
		parts = append(parts, name+" "+formatRanges(r.Ranges[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Sets)) {
		parts = append(parts, name+" {"+strings.Join(r.Sets[name], ",")+"}")
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func formatRanges(ranges []Range) string {
	parts := make([]string, len(ranges))
	for i, x := range ranges {
		parts[i] = fmt.Sprintf("%d-%d", x.First, x.Last)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// portsRange is the range resource of ports by their numbers.
const portsRange = "ports"

// OfPorts is an amount of ports by their numbers, as reservations have them. What holds ports in any other way has a number of them
// (Ports), and their numbers elsewhere.
func OfPorts(ports []Range) (r Resources) {
	if len(ports) > 0 {
		r.Ranges = map[string][]Range{portsRange: ports}
	}
	return r
}

// PortRanges returns the ports that r has by their numbers.
func (r Resources) PortRanges() []Range { return r.Ranges[portsRange] }

// WithoutPorts returns r without the ports that it has by their numbers.
func (r Resources) WithoutPorts() Resources {
	if len(r.Ranges[portsRange]) == 0 {
		return r
	}
	r.Ranges = maps.Clone(r.Ranges)
	delete(r.Ranges, portsRange)
	return r
}

// CommonRanges returns the numbers in both.
func CommonRanges(a, b []Range) (out []Range) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if first, last := max(a[i].First, b[j].First), min(a[i].Last, b[j].Last); first <= last {
			out = append(out, Range{first, last})
		}
		if a[i].Last < b[j].Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// UniteRanges returns the numbers in a or b as ascending, disjoint ranges that do not touch.
func UniteRanges(a, b []Range) []Range { return uniteRanges(a, b) }

// PortsIn returns which of ports are in ascending, disjoint ranges.
func PortsIn(ranges []Range, ports []AssignedPort) (out []Range) {
	if len(ranges) == 0 {
		return nil
	}
	for _, p := range ports {
		if HasIndex(ranges, p.Port) {
			out = append(out, Range{int64(p.Port), int64(p.Port)})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return uniteRanges(nil, out)
}

// HasIndex reports whether n is in ascending, disjoint ranges.
func HasIndex(ranges []Range, n int) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].Last >= int64(n) })
	return i < len(ranges) && ranges[i].First <= int64(n)
}

// WithIndex returns ranges with n in it; the argument is not changed.
func WithIndex(ranges []Range, n int) []Range {
	return uniteRanges(ranges, []Range{{int64(n), int64(n)}})
}

// CountIndexes returns how many numbers are in ranges.
func CountIndexes(ranges []Range) (n int) {
	for _, x := range ranges {
		n += int(x.Last - x.First + 1)
	}
	return n
}

// uniteRanges returns the numbers in a or b as ascending, disjoint ranges that do not touch.
func uniteRanges(a, b []Range) []Range {
	all := append(slices.Clone(a), b...)
	sort.Slice(all, func(i, j int) bool { return all[i].First < all[j].First })
	var out []Range
	for _, x := range all {
		if n := len(out); n > 0 && x.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, x.Last)
			continue
		}
		out = append(out, x)
	}
	return out
}

// subtractRanges returns the numbers in a and not in b. Both are ascending and disjoint.
func subtractRanges(a, b []Range) (out []Range) {
	for _, x := range a {
		for len(b) > 0 && b[0].Last < x.First {
			b = b[1:]
		}
		for _, cut := range b { // the last one may go on into the next of a
			if cut.First > x.Last {
				break
			}
			if x.First < cut.First {
				out = append(out, Range{x.First, cut.First - 1})
			}
			x.First = cut.Last + 1
		}
		if x.First <= x.Last {
			out = append(out, x)
		}
	}
	return out
}
