//go:build linux && (amd64 || arm64)

package seccomp

import (
	"fmt"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Where struct seccomp_data has what, and what the kernel takes for an answer.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16 // eight bytes each, the low half first

	retAllow       = 0x7fff0000
	retLog         = 0x7ffc0000
	retErrno       = 0x00050000
	retTrap        = 0x00030000
	retKillThread  = 0
	retKillProcess = 0x80000000

	x32Bit = 0x40000000 // of numbers of the x32 ABI, which has the architecture of amd64

	maxProgram = 4096 // instructions, of the kernel
)

// int32s are system calls whose arguments the kernel takes as int: what a caller puts in the upper half makes no difference to it, and
// so must not make one here.
var int32s = map[string]bool{"socket": true, "personality": true, "ioctl": true}

// Compile makes a program of a profile, for system calls of this machine's own architecture; those of others, such as 32-bit ones, are
// answered with ENOSYS. Runs of numbers with the same answer are found by halving, so a call costs a handful of steps, and the kernel
// is done early with what it does for each number when the program is loaded.
func Compile(p *specs.LinuxSeccomp) ([]unix.SockFilter, error) {
	otherwise, err := answer(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	code := map[uint32][]unix.SockFilter{} // by number
	rules := map[string][]specs.LinuxSyscall{}
	for _, s := range p.Syscalls {
		for _, name := range s.Names {
			rules[name] = append(rules[name], s)
		}
	}
	for name, list := range rules {
		n, ok := numbers[name]
		if !ok {
			continue // of another architecture, or newer than this build: refused
		}
		if code[n], err = decide(list, otherwise, int32s[name]); err != nil {
			return nil, fmt.Errorf("system call %s: %w", name, err)
		}
	}
	type run struct {
		from uint32
		code []unix.SockFilter
	}
	runs := []run{{0, []unix.SockFilter{ret(otherwise)}}}
	next := uint32(0)
	add := func(from uint32, code []unix.SockFilter) {
		if !slices.Equal(runs[len(runs)-1].code, code) {
			runs = append(runs, run{from, code})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(code)) {
		if n > next {
			add(next, []unix.SockFilter{ret(otherwise)})
		}
		if n == 0 {
			runs[0].code = code[0]
		}
		add(n, code[n])
		next = n + 1
	}
	add(next, []unix.SockFilter{ret(otherwise)})
	var tree func(runs []run) ([]unix.SockFilter, error)
	tree = func(runs []run) ([]unix.SockFilter, error) {
		if len(runs) == 1 {
			return runs[0].code, nil
		}
		half := len(runs) / 2
		below, err := tree(runs[:half])
		if err != nil {
			return nil, err
		}
		above, err := tree(runs[half:])
		if err != nil {
			return nil, err
		}
		jump := []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: runs[half].from, Jt: uint8(len(below))}}
		if len(below) > 255 { // too far for a jump with a condition
			jump[0].Jt, jump[0].Jf = 0, 1
			jump = append(jump, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(below))})
		}
		return slices.Concat(jump, below, above), nil
	}
	body, err := tree(runs)
	if err != nil {
		return nil, err
	}
	noSuchCall := retErrno | uint32(unix.ENOSYS)
	out := []unix.SockFilter{
		load(offArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		ret(noSuchCall),
		load(offNumber),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32Bit, Jf: 1},
		ret(noSuchCall),
	}
	if out = append(out, body...); len(out) > maxProgram {
		return nil, fmt.Errorf("the program has %d instructions, more than %d", len(out), maxProgram)
	}
	return out, nil
}

// decide is the program for one system call: the first rule whose conditions hold answers. One without conditions comes last.
func decide(rules []specs.LinuxSyscall, otherwise uint32, narrow bool) (out []unix.SockFilter, err error) {
	last := otherwise
	for _, r := range rules {
		a, err := answer(r.Action, r.ErrnoRet)
		if err != nil {
			return nil, err
		}
		if len(r.Args) == 0 {
			last = a
			continue
		}
		var block []unix.SockFilter
		var fails [][2]int // instruction, and 1 when it is its true branch
		for _, arg := range r.Args {
			if arg.Index > 5 {
				return nil, fmt.Errorf("there is no argument %d", arg.Index)
			}
			if block, fails, err = condition(block, fails, arg, narrow); err != nil {
				return nil, err
			}
		}
		if block = append(block, ret(a)); len(block) > 255 {
			return nil, fmt.Errorf("the conditions of a rule take %d instructions", len(block))
		}
		for _, f := range fails {
			far := uint8(len(block) - f[0] - 1)
			if f[1] == 1 {
				block[f[0]].Jt = far
			} else {
				block[f[0]].Jf = far
			}
		}
		out = append(out, block...)
	}
	return append(out, ret(last)), nil
}

// condition appends the test of one argument. It goes on behind itself where it holds; fails are the branches where it does not.
func condition(block []unix.SockFilter, fails [][2]int, arg specs.LinuxSeccompArg, narrow bool) ([]unix.SockFilter, [][2]int, error) {
	low := uint32(offArgs + 8*arg.Index)
	high := low + 4
	jump := func(op uint16, k uint32, jt, jf uint8) {
		block = append(block, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: jt, Jf: jf})
	}
	fail := func(branch int) { fails = append(fails, [2]int{len(block) - 1, branch}) }
	lo, hi := uint32(arg.Value), uint32(arg.Value>>32)
	if arg.Op == specs.OpMaskedEqual {
		for i, at := range []uint32{low, high} {
			mask, want := uint32(arg.Value>>(32*i)), uint32(arg.ValueTwo>>(32*i))
			if mask == 0 && want == 0 || narrow && i == 1 {
				continue
			}
			block = append(block, load(at), unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
			jump(unix.BPF_JEQ, want, 0, 0)
			fail(0)
		}
		return block, fails, nil
	}
	if !narrow { // the upper half decides unless it is equal
		block = append(block, load(high))
		switch arg.Op {
		case specs.OpEqualTo:
			jump(unix.BPF_JEQ, hi, 0, 0)
			fail(0)
		case specs.OpNotEqual:
			jump(unix.BPF_JEQ, hi, 0, 2) // differs: it holds
		case specs.OpGreaterThan, specs.OpGreaterEqual:
			jump(unix.BPF_JGT, hi, 3, 0)
			jump(unix.BPF_JEQ, hi, 0, 0)
			fail(0)
		case specs.OpLessThan, specs.OpLessEqual:
			jump(unix.BPF_JGT, hi, 0, 0)
			fail(1)
			jump(unix.BPF_JEQ, hi, 0, 2)
		}
	}
	block = append(block, load(low))
	switch arg.Op {
	case specs.OpEqualTo:
		jump(unix.BPF_JEQ, lo, 0, 0)
		fail(0)
	case specs.OpNotEqual:
		jump(unix.BPF_JEQ, lo, 0, 0)
		fail(1)
	case specs.OpGreaterThan:
		jump(unix.BPF_JGT, lo, 0, 0)
		fail(0)
	case specs.OpGreaterEqual:
		jump(unix.BPF_JGE, lo, 0, 0)
		fail(0)
	case specs.OpLessThan:
		jump(unix.BPF_JGE, lo, 0, 0)
		fail(1)
	case specs.OpLessEqual:
		jump(unix.BPF_JGT, lo, 0, 0)
		fail(1)
	default:
		return nil, nil, fmt.Errorf("there is no comparison %q", arg.Op)
	}
	return block, fails, nil
}

// answer is what the kernel does.
func answer(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	switch a {
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActErrno:
		n := uint32(unix.EPERM)
		if errno != nil {
			n = uint32(*errno)
		}
		return retErrno | n&0xffff, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrace, specs.ActNotify:
		return 0, fmt.Errorf("%s needs somebody beside the task who answers", a)
	}
	return 0, fmt.Errorf("the action %q is not known here", a)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
