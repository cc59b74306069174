package operator

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/proffer/proffer/structs"
)

// chunkSize is about how much of an answer lies in one piece.
const chunkSize = 256 << 10

// encoder writes JSON behind each other, without a tree of it in between: an answer may be of a hundred thousand tasks.
type encoder struct {
	buf  []byte
	to   *body // has what was written before buf
	bare bool  // nothing is before the next value that a comma would part it from
}

func newEncoder() *encoder {
	return &encoder{buf: make([]byte, 0, chunkSize+chunkSize/8), to: newBody(), bare: true}
}

// body ends the answer.
func (e *encoder) body() *body {
	e.to.end(true, e.buf)
	e.buf = nil
	return e.to
}

// part is called between the members of long lists.
func (e *encoder) part() {
	if len(e.buf) >= chunkSize {
		e.to.add(e.buf)
		e.buf = make([]byte, 0, chunkSize+chunkSize/8)
	}
}

func (e *encoder) comma() {
	if !e.bare {
		e.buf = append(e.buf, ',')
	}
	e.bare = false
}

func (e *encoder) open(c byte) {
	e.comma()
	e.buf, e.bare = append(e.buf, c), true
}

func (e *encoder) close(c byte) { e.buf, e.bare = append(e.buf, c), false }

// key begins a member of an object. Names are those of this package: they need no escape.
func (e *encoder) key(name string) {
	e.comma()
	e.buf = append(append(append(e.buf, '"'), name...), '"', ':')
	e.bare = true
}

// named is key for a name that somebody else chose.
func (e *encoder) named(name string) {
	e.text(name)
	e.buf, e.bare = append(e.buf, ':'), true
}

// raw is a value, or several members, as they are written.
func (e *encoder) raw(b []byte) {
	e.comma()
	e.buf = append(e.buf, b...)
}

func (e *encoder) text(s string) {
	e.comma()
	if !plain(s) {
		raw, _ := json.Marshal(s) // text always can be written
		e.buf = append(e.buf, raw...)
		return
	}
	e.buf = append(append(append(e.buf, '"'), s...), '"')
}

// plain reports whether nothing in a text has to be escaped. It looks at eight bytes at once: subtracting n sets the high bit of a byte
// below n, and of no other unless there is one below it (Hacker's Delight, 6-1).
func plain(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (x|(x-' '*ones)|((x^'"'*ones)-ones)|((x^'\\'*ones)-ones))&highs != 0 {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (e *encoder) int(n int64) {
	e.comma()
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

func (e *encoder) bool(b bool) {
	e.comma()
	e.buf = strconv.AppendBool(e.buf, b)
}

// milli is a number of three decimals.
func (e *encoder) milli(m int64) {
	e.comma()
	if m < 0 {
		e.buf, m = append(e.buf, '-'), -m
	}
	e.buf = append(strconv.AppendInt(e.buf, m/1000, 10), '.')
	switch rest := m % 1000; {
	case rest%100 == 0:
		e.buf = append(e.buf, '0'+byte(rest/100))
	case rest%10 == 0:
		e.buf = append(e.buf, '0'+byte(rest/100), '0'+byte(rest/10%10))
	default:
		e.buf = append(e.buf, '0'+byte(rest/100), '0'+byte(rest/10%10), '0'+byte(rest%10))
	}
}

// seconds is an instant as Mesos writes it: seconds since 1970 with decimals.
func (e *encoder) seconds(t structs.Time) {
	e.comma()
	if t < 0 {
		t = 0
	}
	e.buf = append(strconv.AppendInt(e.buf, int64(t)/1e9, 10), '.')
	micro := int64(t) % 1e9 / 1e3
	var digits [6]byte
	for i := range digits {
		digits[5-i] = '0' + byte(micro%10)
		micro /= 10
	}
	e.buf = append(e.buf, digits[:]...)
}

func (e *encoder) textAt(key, s string) {
	e.key(key)
	e.text(s)
}

func (e *encoder) intAt(key string, n int64) {
	e.key(key)
	e.int(n)
}

func (e *encoder) boolAt(key string, b bool) {
	e.key(key)
	e.bool(b)
}

func (e *encoder) secondsAt(key string, t structs.Time) {
	e.key(key)
	e.seconds(t)
}

// empty are members that are lists of nothing here.
func (e *encoder) empty(keys ...string) {
	for _, key := range keys {
		e.key(key)
		e.open('[')
		e.close(']')
	}
}

// listOf writes a list of texts.
func (e *encoder) listOf(key string, all []string) {
	e.key(key)
	e.open('[')
	for _, s := range all {
		e.text(s)
	}
	e.close(']')
}
