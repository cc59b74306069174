// Package twin holds package msgpack against the library whose bytes it writes, on random values of the types that a test names.
package twin

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/proffer/proffer/client/msgpack"
)

// handle is what wrote records before package msgpack did.
var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.RawToString = true
	h.SignedInteger = true
	h.MapType = reflect.TypeFor[map[string]any]()
	return h
}()

// Check writes and reads random values of the types of values, which are structs or pointers to some, in both ways. seed makes the values.
func Check(t *testing.T, seed uint64, rounds int, values ...any) {
	t.Helper()
	for _, v := range values {
		kind := reflect.TypeOf(v)
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		t.Run(kind.String(), func(t *testing.T) {
			for round := range rounds {
				g := generator{rand.New(rand.NewPCG(seed, uint64(round))), round % 2 * 3}
				one := reflect.New(kind)
				if round > 0 { // the first is all zero
					g.fill(one.Elem(), 0)
				}
				check(t, one, g.entries <= 1)
				if t.Failed() {
					t.Fatalf("seed %d, round %d", seed, round)
				}
			}
		})
	}
}

// check holds both against each other on one value; same: also their bytes, whose order is not that of a map with several entries.
func check(t *testing.T, v reflect.Value, same bool) {
	t.Helper()
	ours, err := msgpack.Append(nil, v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	var theirs []byte
	if err := codec.NewEncoderBytes(&theirs, handle).Encode(v.Interface()); err != nil {
		t.Fatal(err)
	}
	if same && !bytes.Equal(ours, theirs) {
		t.Errorf("we write\n%q and not\n%q", ours, theirs)
	}
	if len(ours) != len(theirs) {
		t.Errorf("we write %d bytes and not %d", len(ours), len(theirs))
	}
	was := reflect.New(v.Type().Elem())
	if err := codec.NewDecoderBytes(theirs, handle).Decode(was.Interface()); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"our": ours, "their": theirs} {
		is := reflect.New(v.Type().Elem())
		if err := msgpack.Decode(raw, is.Interface()); err != nil {
			t.Fatalf("reading %s bytes: %v", name, err)
		}
		if !reflect.DeepEqual(is.Interface(), was.Interface()) {
			t.Errorf("of %s bytes we read\n%#v and not\n%#v", name, is.Elem(), was.Elem())
		}
	}
	for _, cut := range []int{0, len(ours) / 2, len(ours) - 1} {
		if err := msgpack.Decode(ours[:cut], reflect.New(v.Type().Elem()).Interface()); err == nil {
			t.Errorf("%d of %d bytes are read without an error", cut, len(ours))
		}
	}
}

type generator struct {
	*rand.Rand
	entries int // a map has at most one more than that
}

// fill makes a random value. Deep in others, values are empty.
func (g generator) fill(v reflect.Value, depth int) {
	if g.IntN(4) == 0 { // as it is
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(g.bits(v.Type().Bits())) >> (64 - v.Type().Bits()) >> g.IntN(v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(g.bits(v.Type().Bits()) >> (64 - v.Type().Bits()) >> g.IntN(v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(float32(g.NormFloat64())))
	case reflect.String:
		v.SetString(g.text())
	case reflect.Pointer:
		if depth < 12 {
			one := reflect.New(v.Type().Elem())
			g.fill(one.Elem(), depth+1)
			v.Set(one)
		}
	case reflect.Slice:
		n := g.IntN(4)
		if g.IntN(20) == 0 && depth < 2 {
			n = 300
		}
		if depth > 8 {
			n = 0
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			g.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			g.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(g.entries + 2) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(key, depth+1)
			g.fill(elem, depth+1)
			if elem.Kind() == reflect.Struct && v.Len() > 0 {
				continue // the library reads all such values into one variable
			}
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				g.fill(f, depth+1)
			}
		}
	case reflect.Interface:
		if v.NumMethod() == 0 { // others are not written
			v.Set(reflect.ValueOf(g.any(depth)))
		}
	}
}

func (g generator) bits(int) uint64 {
	return []uint64{g.Uint64(), 0, math.MaxUint64, 1 << 63, math.MaxUint64 >> 1}[g.IntN(5)]
}

func (g generator) text() string {
	n := []int{0, 1, 5, 31, 32, 200, 255, 256, 300}[g.IntN(9)]
	if g.IntN(200) == 0 {
		n = 70_000
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + g.IntN(26))
	}
	return string(b)
}

func (g generator) any(depth int) any {
	n := 6
	if depth > 6 {
		n = 4
	}
	switch g.IntN(n) {
	case 0:
		return g.IntN(2) == 0
	case 1:
		return g.Int64() >> g.IntN(64)
	case 2:
		return g.NormFloat64()
	case 3:
		return g.text()
	case 4:
		all := make([]any, g.IntN(4))
		for i := range all {
			all[i] = g.any(depth + 1)
		}
		return all
	default:
		all := map[string]any{}
		for range g.IntN(g.entries + 2) {
			all[g.text()] = g.any(depth + 1)
		}
		return all
	}
}
