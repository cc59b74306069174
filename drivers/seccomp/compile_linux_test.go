//go:build linux && (amd64 || arm64)

package seccomp

import (
	"encoding/binary"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// run is what the kernel does with a program.
func run(t *rapid.T, program []unix.SockFilter, number, arch uint32, args [6]uint64) uint32 {
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offNumber:], number)
	binary.LittleEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[offArgs+8*i:], a)
	}
	var a uint32
	for at := 0; ; at++ {
		if at >= len(program) {
			t.Fatalf("the program ran past its end")
		}
		i := program[at]
		yes := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JA:
			at += int(i.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = a > i.K
		default:
			t.Fatalf("instruction %x", i.Code)
		}
		if yes {
			at += int(i.Jt)
		} else {
			at += int(i.Jf)
		}
	}
}

// plain answers from the profile itself: the first rule whose conditions hold, then one without conditions.
func plain(p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	otherwise, _ := answer(p.DefaultAction, p.DefaultErrnoRet)
	for _, s := range p.Syscalls {
		if !slices.Contains(s.Names, name) {
			continue
		}
		a, _ := answer(s.Action, s.ErrnoRet)
		if len(s.Args) == 0 {
			otherwise = a
			continue
		}
		holds := true
		for _, c := range s.Args {
			v := args[c.Index]
			if int32s[name] {
				v = uint64(uint32(v))
			}
			switch c.Op {
			case specs.OpEqualTo:
				holds = holds && v == c.Value
			case specs.OpNotEqual:
				holds = holds && v != c.Value
			case specs.OpGreaterThan:
				holds = holds && v > c.Value
			case specs.OpGreaterEqual:
				holds = holds && v >= c.Value
			case specs.OpLessThan:
				holds = holds && v < c.Value
			case specs.OpLessEqual:
				holds = holds && v <= c.Value
			case specs.OpMaskedEqual:
				holds = holds && v&c.Value == c.ValueTwo
			}
		}
		if holds {
			return a
		}
	}
	return otherwise
}

func same(t *rapid.T, p *specs.LinuxSeccomp) {
	program, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[uint32]string, len(numbers))
	for name, n := range numbers {
		names[n] = name
	}
	half := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 64), rapid.SampledFrom([]uint32{1, 1 << 31, ^uint32(0), 0x7E020000, 0x10000000}))
	for n := range uint32(520) {
		var args [6]uint64
		for i := range args {
			args[i] = uint64(half.Draw(t, "low"))
			if rapid.Bool().Draw(t, "wide") {
				args[i] |= uint64(half.Draw(t, "high")) << 32
			}
		}
		if got, want := run(t, program, n, arch, args), plain(p, names[n], args); got != want {
			t.Fatalf("system call %d (%s) %x: %x, want %x", n, names[n], args, got, want)
		}
	}
	if got := run(t, program, 0, arch+1, [6]uint64{}); got != retErrno|uint32(unix.ENOSYS) {
		t.Fatalf("another architecture: %x", got)
	}
	if got := run(t, program, x32Bit, arch, [6]uint64{}); arch == unix.AUDIT_ARCH_X86_64 && got != retErrno|uint32(unix.ENOSYS) {
		t.Fatalf("x32: %x", got)
	}
}

// The program answers what the profile says, for the default one and for any other.
func TestAProgramIsItsProfile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		caps := rapid.SliceOfN(rapid.SampledFrom([]string{"CAP_SYS_NICE", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"}), 0, 3).Draw(t, "caps")
		p, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		same(t, p)
	})
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "high")<<32 | rapid.Uint64Range(0, 40).Draw(t, "low")
		})
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
		for range rapid.IntRange(0, 12).Draw(t, "rules") {
			s := specs.LinuxSyscall{Action: rapid.SampledFrom([]specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno}).Draw(t, "action"),
				Names: rapid.SliceOfN(rapid.SampledFrom([]string{"read", "write", "socket", "openat", "mount", "statx", "no such call"}), 1, 4).Draw(t, "names")}
			errno := rapid.UintRange(1, 100).Draw(t, "errno")
			s.ErrnoRet = &errno
			for range rapid.IntRange(0, 2).Draw(t, "args") {
				s.Args = append(s.Args, specs.LinuxSeccompArg{Index: rapid.UintRange(0, 5).Draw(t, "index"), Value: value.Draw(t, "value"), ValueTwo: value.Draw(t, "two"),
					Op: rapid.SampledFrom([]specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual,
						specs.OpLessThan, specs.OpLessEqual, specs.OpMaskedEqual}).Draw(t, "op")})
			}
			if int32s["socket"] && slices.Contains(s.Names, "socket") {
				for i := range s.Args {
					s.Args[i].Value, s.Args[i].ValueTwo = uint64(uint32(s.Args[i].Value)), uint64(uint32(s.Args[i].ValueTwo))
				}
			}
			p.Syscalls = append(p.Syscalls, s)
		}
		same(t, p)
	})
}

func TestProfilesThatCannotBe(t *testing.T) {
	for name, p := range map[string]*specs.LinuxSeccomp{
		"action":     {DefaultAction: specs.ActNotify},
		"rule":       {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrace}}},
		"argument":   {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		"comparison": {DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: "?"}}}}},
	} {
		if _, err := Compile(p); err == nil {
			t.Errorf("%s: it was made", name)
		}
	}
}

// The profile is small enough for the start of a task, and its names have numbers here unless they are of other architectures.
func TestTheDefaultIsKnown(t *testing.T) {
	p, err := Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	program, err := Compile(p)
	if err != nil || len(program) > 300 {
		t.Errorf("%d instructions, %v", len(program), err)
	}
	t.Logf("%d instructions", len(program))
	for _, name := range []string{"read", "execve", "clone", "clone3", "socket", "openat2", "futex_waitv", "statx"} {
		if _, ok := numbers[name]; !ok {
			t.Errorf("%s has no number", name)
		}
	}
}
