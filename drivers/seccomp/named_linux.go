//go:build linux && (amd64 || arm64)

package seccomp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxErrno is the highest that a system call can end with.
const maxErrno = 4095

var callName = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// For returns the rules of the profile for a task that may have the given capabilities at most, such as CAP_SYS_NICE. They mean the same
// to the runtimes of containers and to Compile.
func (p *Profile) For(caps []string) (*specs.LinuxSeccomp, error) {
	made, err := seccomp.LoadProfile(string(p.JSON), &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		return nil, err
	}
	made.Syscalls = sockets(made.Syscalls)
	made.Syscalls, err = agreed(made)
	return made, err
}

// Program is what Compile makes of For, for the supervisor.
func (p *Profile) Program(caps []string) ([]byte, error) {
	made, err := p.For(caps)
	if err != nil {
		return nil, err
	}
	program, err := Compile(made)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, i := range program {
		out = binary.LittleEndian.AppendUint16(out, i.Code)
		out = binary.LittleEndian.AppendUint32(append(out, i.Jt, i.Jf), i.K)
	}
	return out, nil
}

// Decode is the program that Program wrote.
func Decode(raw []byte) ([]unix.SockFilter, error) {
	if len(raw)%8 != 0 || len(raw) == 0 || len(raw) > 8*maxProgram {
		return nil, fmt.Errorf("%d bytes are no program", len(raw))
	}
	var out []unix.SockFilter
	for ; len(raw) > 0; raw = raw[8:] {
		out = append(out, unix.SockFilter{Code: binary.LittleEndian.Uint16(raw), Jt: raw[2], Jf: raw[3], K: binary.LittleEndian.Uint32(raw[4:])})
	}
	return out, nil
}

// agreed returns the rules of a profile such that all who read them do the same. Runtimes leave out what answers as the default does, take
// two conditions of one argument for either of them, and a rule without conditions for all that there is about its call.
func agreed(p *specs.LinuxSeccomp) (out []specs.LinuxSyscall, err error) {
	otherwise, err := answer(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	always, sometimes := map[string]uint32{}, map[string][]uint32{} // what rules without conditions, and with some, answer
	for _, s := range p.Syscalls {
		a, err := answer(s.Action, s.ErrnoRet)
		switch {
		case err != nil:
			return nil, err
		case a == otherwise:
			continue
		}
		for _, name := range s.Names {
			if was, twice := always[name]; len(s.Args) == 0 && twice && was != a {
				return nil, fmt.Errorf("two rules for %s without conditions answer differently", name)
			}
			if len(s.Args) == 0 {
				always[name] = a
			} else {
				sometimes[name] = append(sometimes[name], a)
			}
		}
		if !twice(s.Args) {
			out = append(out, s)
			continue
		}
		for _, arg := range s.Args {
			one := s
			one.Args = []specs.LinuxSeccompArg{arg}
			out = append(out, one)
		}
	}
	for name, a := range always {
		if slices.ContainsFunc(sometimes[name], func(b uint32) bool { return a != b }) {
			return nil, fmt.Errorf("a rule for %s without conditions answers otherwise than one with conditions, which would count for nothing: "+
				"say with conditions alone when it is allowed", name)
		}
	}
	return out, nil
}

// twice reports whether there are two conditions of one argument.
func twice(args []specs.LinuxSeccompArg) bool {
	for i, arg := range args {
		if slices.ContainsFunc(args[:i], func(other specs.LinuxSeccompArg) bool { return other.Index == arg.Index }) {
			return true
		}
	}
	return false
}

// check says what is wrong with a profile, and where.
func (p *Profile) check() error {
	var top struct {
		specs.LinuxSeccomp
		ArchMap  []seccomp.Architecture `json:"archMap"`
		Syscalls []json.RawMessage      `json:"syscalls"`
	}
	if err := strict(p.JSON, &top); err != nil {
		return placed(p.JSON, err)
	}
	switch {
	case top.DefaultAction == "":
		return errors.New("defaultAction: it is missing")
	case len(top.Flags) > 0:
		return errors.New("flags: none is served")
	case top.ListenerPath != "" || top.ListenerMetadata != "":
		return errors.New("listenerPath: nobody listens here")
	}
	if err := checkAnswer(top.DefaultAction, top.DefaultErrnoRet); err != nil {
		return fmt.Errorf("defaultAction: %w", err)
	}
	for i, raw := range top.Syscalls {
		var s seccomp.Syscall
		err := strict(raw, &s)
		if err == nil {
			err = checkRule(&s, allows(top.DefaultAction))
		}
		if err != nil {
			return fmt.Errorf("syscalls[%d]: %w", i, err)
		}
	}
	for _, caps := range [][]string{nil, Capabilities} {
		rules, err := p.For(caps)
		if err == nil {
			_, err = Compile(rules)
		}
		if err != nil {
			return err
		}
		if !starts(rules) {
			return errors.New("no program could be started: execve is not allowed, or under conditions alone")
		}
	}
	return nil
}

// Capabilities are those that tasks of the exec and oci drivers may have at most.
var Capabilities = []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT", "CAP_SYS_NICE"}

func allows(a specs.LinuxSeccompAction) bool { return a == specs.ActAllow || a == specs.ActLog }

// starts reports whether a program can be executed whatever its arguments are.
func starts(p *specs.LinuxSeccomp) bool {
	ok := allows(p.DefaultAction)
	for _, s := range p.Syscalls {
		if slices.Contains(s.Names, "execve") {
			if len(s.Args) == 0 {
				return allows(s.Action)
			}
			ok = ok && allows(s.Action)
		}
	}
	return ok
}

// checkRule checks one rule. open: what has no rule is allowed.
func checkRule(s *seccomp.Syscall, open bool) error {
	names := s.Names
	//lint:ignore SA1019 there are files that still have it
	if one := s.Name; one != "" {
		names = append(names, one)
	}
	if len(names) == 0 {
		return errors.New("names: it is missing")
	}
	for _, name := range names {
		if !callName.MatchString(name) {
			return fmt.Errorf("names: %q is not the name of a system call", name)
		}
		if open && !allows(s.Action) && !isCall(name) {
			return fmt.Errorf("names: %q is not known here, so that it would be allowed: correct it or leave it out", name)
		}
	}
	if err := checkAnswer(s.Action, s.ErrnoRet); err != nil {
		return fmt.Errorf("action: %w", err)
	}
	for i, arg := range s.Args {
		if _, _, err := condition(nil, nil, arg, false); err != nil || arg.Index > 5 {
			if err == nil {
				err = fmt.Errorf("there is no argument %d", arg.Index)
			}
			return fmt.Errorf("args[%d]: %w", i, err)
		}
	}
	return nil
}

func checkAnswer(a specs.LinuxSeccompAction, errno *uint) error {
	if _, err := answer(a, errno); err != nil {
		return err
	}
	switch {
	case errno != nil && a != specs.ActErrno:
		return fmt.Errorf("%s has no errnoRet", a)
	case errno != nil && *errno > maxErrno:
		return fmt.Errorf("errnoRet %d is more than %d", *errno, maxErrno)
	}
	return nil
}

// isCall reports whether some architecture is known to have a system call.
func isCall(name string) bool {
	if _, ok := numbers[name]; ok {
		return true
	}
	return slices.ContainsFunc(seccomp.DefaultProfile().Syscalls, func(s *seccomp.Syscall) bool { return slices.Contains(s.Names, name) })
}

// strict reads one JSON value that has no other fields than those of to.
func strict(raw []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind its end")
	}
	return nil
}

// placed adds the line to an error that knows its place in raw.
func placed(raw []byte, err error) error {
	var at int64
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	} else if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		at = kind.Offset
	}
	if at == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(raw[:min(at, int64(len(raw)))], []byte("\n")), err)
}
