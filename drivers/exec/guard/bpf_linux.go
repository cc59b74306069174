//go:build linux && (amd64 || arm64)

package guard

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpf is bpf(2). attr must not move while it runs: pin holds what pointers in it are about.
func bpf(what string, cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EINTR && errno != unix.EAGAIN { // the verifier was interrupted
			return -1, os.NewSyscallError(what, errno)
		}
	}
}

// name is that of our maps and programs, for those who look with bpftool.
var name = [16]byte{'p', 'r', 'o', 'f', 'f', 'e', 'r', '_', 'p', 'o', 'r', 't', 's'}

// newMap makes a hash map of 64-bit values. Elements take memory once they are there.
func newMap(keySize, most uint32) (int, error) {
	attr := struct {
		kind, keySize, valueSize, most, flags, inner, node uint32
		name                                               [16]byte
	}{unix.BPF_MAP_TYPE_HASH, keySize, 8, most, unix.BPF_F_NO_PREALLOC, 0, 0, name}
	return bpf("bpf: make a map", unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

type element struct {
	fd, _      uint32
	key, value unsafe.Pointer
	flags      uint64
}

func put[K comparable](fd int, key K, value uint64) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&key)
	pin.Pin(&value)
	attr := element{fd: uint32(fd), key: unsafe.Pointer(&key), value: unsafe.Pointer(&value)}
	_, err := bpf("bpf: write to a map", unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func drop[K comparable](fd int, key K) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&key)
	attr := element{fd: uint32(fd), key: unsafe.Pointer(&key)}
	_, err := bpf("bpf: delete from a map", unix.BPF_MAP_DELETE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// load has the kernel verify a program for one kind of hook.
func load(hook uint32, list []insn) (int, error) {
	licence := []byte("Apache-2.0\x00")
	said := make([]byte, 64<<10)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&list[0])
	pin.Pin(&licence[0])
	pin.Pin(&said[0])
	attr := struct {
		kind, count    uint32
		list, licence  unsafe.Pointer
		level, said    uint32
		log            unsafe.Pointer
		version, flags uint32
		name           [16]byte
		ifindex, hook  uint32
	}{kind: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: uint32(len(list)), list: unsafe.Pointer(&list[0]), licence: unsafe.Pointer(&licence[0]), name: name, hook: hook}
	const what = "bpf: load a program"
	fd, err := bpf(what, unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err == nil {
		return fd, nil
	}
	attr.level, attr.said, attr.log = 1, uint32(len(said)), unsafe.Pointer(&said[0])
	if fd, again := bpf(what, unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); again == nil {
		return fd, nil
	}
	return -1, fmt.Errorf("%w%s", err, lastLine(said))
}

// lastLine is what the verifier said at the end, before its statistics.
func lastLine(said []byte) string {
	line := ""
	for start, i := 0, 0; i < len(said) && said[i] != 0; i++ {
		if said[i] != '\n' {
			continue
		}
		if text := string(said[start:i]); len(text) > 0 && len(text) < 200 && (len(text) < 9 || text[:9] != "processed") {
			line = ": " + text
		}
		start = i + 1
	}
	return line
}

// attach has the programs of a folder of cgroup version 2 run, beside others that somebody attached there, and in the place of ours that is
// there already, at once.
func attach(dir int, hook uint32, prog int) error {
	old, err := attached(dir, hook)
	if err != nil {
		return err
	}
	attr := struct{ dir, prog, hook, flags, replace uint32 }{uint32(dir), uint32(prog), hook, unix.BPF_F_ALLOW_MULTI, 0}
	if len(old) > 0 {
		attr.flags, attr.replace = attr.flags|unix.BPF_F_REPLACE, uint32(old[0])
	}
	_, err = bpf("bpf: attach a program", unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	for _, fd := range old {
		unix.Close(fd)
	}
	return err
}

// attached opens our programs of a folder. There is at most one.
func attached(dir int, hook uint32) (fds []int, err error) {
	var ids [64]uint32 // as many as a kernel allows
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	query := struct {
		dir, hook, flags, attached uint32
		ids                        unsafe.Pointer
		count, _                   uint32
	}{dir: uint32(dir), hook: hook, ids: unsafe.Pointer(&ids[0]), count: uint32(len(ids))}
	if _, err := bpf("bpf: list programs", unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)); err != nil {
		return nil, err
	}
	for _, id := range ids[:min(int(query.count), len(ids))] {
		byID := struct{ id, next, flags uint32 }{id: id}
		fd, err := bpf("bpf: open a program", unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&byID), unsafe.Sizeof(byID))
		if err != nil {
			continue // it went meanwhile
		}
		var info struct {
			kind, id  uint32
			tag       [8]byte
			jited     uint32
			xlated    uint32
			jit, code uint64
			loaded    uint64
			user      uint32
			maps      uint32
			mapIDs    uint64
			name      [16]byte
		}
		pin.Pin(&info)
		ask := struct {
			fd, size uint32
			info     unsafe.Pointer
		}{uint32(fd), uint32(unsafe.Sizeof(info)), unsafe.Pointer(&info)}
		_, err = bpf("bpf: look at a program", unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
		if err != nil || info.name != name || len(fds) > 0 {
			unix.Close(fd)
			continue
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
