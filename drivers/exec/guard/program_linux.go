//go:build linux && (amd64 || arm64)

package guard

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// insn is one instruction of eBPF. One that loads 64 bits takes two.
type insn struct {
	op   uint8
	regs uint8 // destination, and source in the upper half
	off  int16
	imm  int32
}

// Registers: 1 to 5 are arguments and do not outlive a call, 0 is the result, 6 to 9 stay, 10 is the end of the stack.
const (
	r0 = iota
	r1
	r2
	_
	_
	_
	socket
	port
	protocol
	counter
	stack

	owner = counter // once it is known
)

// Functions of the kernel.
const (
	fnLookup   = 1
	fnAncestor = 123 // the id of the group of the calling process at a level below the root; 0: it is not that deep
)

// Fields of struct bpf_sock_addr.
const (
	offIP4      = 4
	offIP6      = 8
	offPort     = 24
	offProtocol = 36
)

// maxDepth bounds how deep below the top the group of a task is looked for.
const maxDepth = 32

// Where on the stack what is looked up is: the id of a group; and struct key.
const (
	atGroup = -8
	atKey   = -8 - keySize

	keyWho, keyPort, keyProtocol = 0, 16, 20
	keySize                      = 24
)

// key is what the map of ports is asked for: an address (16 bytes, that of version 4 mapped) at which an allocation has the port; the
// number of an allocation and then ones, for a port that it has at any; zeros for a port that somebody has.
type key [keySize]byte

func keyOf(who [16]byte, number int, protocol uint32) (k key) {
	copy(k[keyWho:], who[:])
	binary.NativeEndian.PutUint32(k[keyPort:], uint32(number))
	binary.NativeEndian.PutUint32(k[keyProtocol:], protocol)
	return k
}

func ownerKey(owner uint64) (who [16]byte) {
	binary.NativeEndian.PutUint64(who[:], owner)
	binary.NativeEndian.PutUint64(who[8:], ^uint64(0))
	return who
}

// code collects a program whose jumps go forward to labels, or back to one.
type code struct {
	list   []insn
	labels map[string]int
	jumps  map[int]string
}

func (c *code) add(op, dst, src uint8, off int16, imm int32) {
	c.list = append(c.list, insn{op, dst | src<<4, off, imm})
}

func (c *code) label(name string) { c.labels[name] = len(c.list) }

func (c *code) jump(op, dst, src uint8, imm int32, to string) {
	c.jumps[len(c.list)] = to
	c.add(unix.BPF_JMP|op, dst, src, 0, imm)
}

func (c *code) move(dst, src uint8) { c.add(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_X, dst, src, 0, 0) }
func (c *code) set(dst uint8, n int32) {
	c.add(unix.BPF_ALU64|unix.BPF_MOV|unix.BPF_K, dst, 0, 0, n)
}
func (c *code) plus(dst uint8, n int32) {
	c.add(unix.BPF_ALU64|unix.BPF_ADD|unix.BPF_K, dst, 0, 0, n)
}
func (c *code) load(size, dst, src uint8, off int16) {
	c.add(unix.BPF_LDX|unix.BPF_MEM|size, dst, src, off, 0)
}
func (c *code) store(size, src uint8, off int16) {
	c.add(unix.BPF_STX|unix.BPF_MEM|size, stack, src, off, 0)
}
func (c *code) storeNumber(size uint8, off int16, n int32) {
	c.add(unix.BPF_ST|unix.BPF_MEM|size, stack, 0, off, n)
}
func (c *code) call(fn int32) { c.add(unix.BPF_JMP|unix.BPF_CALL, 0, 0, 0, fn) }

// lookup leaves in r0 where the value is; 0: there is none.
func (c *code) lookup(fd int, at int32) {
	c.add(unix.BPF_LD|unix.BPF_IMM|unix.BPF_DW, r1, unix.BPF_PSEUDO_MAP_FD, 0, int32(fd))
	c.add(0, 0, 0, 0, 0)
	c.move(r2, stack)
	c.plus(r2, at)
	c.call(fnLookup)
}

func (c *code) end(name string, result int32) {
	c.label(name)
	c.set(r0, result)
	c.add(unix.BPF_JMP|unix.BPF_EXIT, 0, 0, 0, 0)
}

func (c *code) instructions() []insn {
	for at, to := range c.jumps {
		c.list[at].off = int16(c.labels[to] - at - 1)
	}
	return c.list
}

// program is what looks at each bind of a socket of IPv4, or of IPv6. owners and ports are the maps; a process is of the group of
// a task at whatever depth.
func program(v6 bool, owners, ports int, in structs.Range) []insn {
	const word, long = unix.BPF_W, unix.BPF_DW
	c := &code{labels: map[string]int{}, jumps: map[int]string{}}
	c.move(socket, r1)
	c.load(word, port, socket, offPort)
	c.jump(unix.BPF_JEQ, port, 0, 0, "pass")
	c.add(unix.BPF_ALU|unix.BPF_END|unix.BPF_TO_BE, port, 0, 0, 16)
	c.load(word, protocol, socket, offProtocol)
	c.jump(unix.BPF_JEQ, protocol, 0, unix.IPPROTO_TCP, "whose")
	c.jump(unix.BPF_JNE, protocol, 0, unix.IPPROTO_UDP, "pass")

	c.label("whose")
	c.set(counter, 1)
	c.label("deeper")
	c.move(r1, counter)
	c.call(fnAncestor)
	c.jump(unix.BPF_JEQ, r0, 0, 0, "pass")
	c.store(long, r0, atGroup)
	c.lookup(owners, atGroup)
	c.jump(unix.BPF_JNE, r0, 0, 0, "known")
	c.plus(counter, 1)
	c.jump(unix.BPF_JLT, counter, 0, maxDepth, "deeper")
	c.jump(unix.BPF_JA, 0, 0, 0, "pass")

	c.label("known")
	c.load(long, owner, r0, 0)
	c.store(word, port, atKey+keyPort)
	c.store(word, protocol, atKey+keyProtocol)
	if v6 {
		c.set(r2, 0)
		for i := range int16(4) {
			c.load(word, r1, socket, offIP6+4*i)
			c.store(word, r1, atKey+keyWho+4*i)
			c.add(unix.BPF_ALU64|unix.BPF_OR|unix.BPF_X, r2, r1, 0, 0)
		}
		c.jump(unix.BPF_JEQ, r2, 0, 0, "own")
	} else {
		c.storeNumber(long, atKey+keyWho, 0)
		c.storeNumber(word, atKey+keyWho+8, -0x10000) // 0, 0, 255, 255 in memory: both architectures have the low byte first
		c.load(word, r1, socket, offIP4)
		c.jump(unix.BPF_JEQ, r1, 0, 0, "own")
		c.store(word, r1, atKey+keyWho+12)
	}
	c.lookup(ports, atKey)
	c.jump(unix.BPF_JEQ, r0, 0, 0, "own")
	c.load(long, r1, r0, 0)
	c.jump(unix.BPF_JEQ|unix.BPF_X, r1, owner, 0, "pass")
	c.jump(unix.BPF_JA, 0, 0, 0, "refuse")

	c.label("own")
	c.store(long, owner, atKey+keyWho)
	c.storeNumber(long, atKey+keyWho+8, -1)
	c.lookup(ports, atKey)
	c.jump(unix.BPF_JNE, r0, 0, 0, "pass")
	c.jump(unix.BPF_JLT, port, 0, int32(in.First), "anybody")
	c.jump(unix.BPF_JLE, port, 0, int32(in.Last), "refuse")

	c.label("anybody")
	c.storeNumber(long, atKey+keyWho, 0)
	c.storeNumber(long, atKey+keyWho+8, 0)
	c.lookup(ports, atKey)
	c.jump(unix.BPF_JEQ, r0, 0, 0, "pass")
	c.end("refuse", 0)
	c.end("pass", 1)
	return c.instructions()
}
