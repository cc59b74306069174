package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// families are how many there are of sockets (AF_MAX).
const families = 46

// sockets replaces the rule that allows all families of sockets above one that is refused. Runtimes compare whole registers, and the
// kernel looks at the lower half: with a bit in the upper half, any family would be above.
func sockets(rules []specs.LinuxSyscall) (out []specs.LinuxSyscall) {
	for _, r := range rules {
		if !slices.Equal(r.Names, []string{"socket"}) || len(r.Args) != 1 || r.Args[0].Op != specs.OpGreaterThan || r.Action != specs.ActAllow || r.Args[0].Value >= families {
			out = append(out, r)
			continue
		}
		for family := r.Args[0].Value + 1; family < families; family++ {
			one := r
			one.Args = []specs.LinuxSeccompArg{{Index: r.Args[0].Index, Value: family, Op: specs.OpEqualTo}}
			out = append(out, one)
		}
	}
	return out
}
