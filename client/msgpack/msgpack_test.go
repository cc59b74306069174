package msgpack_test

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/client/msgpack/twin"
)

type status string

type inner struct {
	A int
	B string `codec:"bee"`
}

type asks struct{ N, Ignored int }

func (a asks) IsZero() bool { return a.N == 0 }

type list struct {
	Value int
	Next  *list
}

type all struct {
	inner
	Bool     bool
	I8       int8
	I16      int16
	I32      int32
	I64      int64
	Int      int
	U8       uint8
	U16      uint16
	U32      uint32
	U64      uint64
	F32      float32
	F64      float64
	Text     status
	Bytes    []byte
	Sum      [4]byte
	Pair     [2]int
	Ints     []int
	Structs  []inner
	Pointers []*inner
	Maps     map[string]map[string]string
	Of       map[status]*inner
	Flat     map[string]inner
	Numbers  map[int]bool
	Any      any
	Config   map[string]any
	List     *list
	Renamed  int               `json:"other,omitempty"`
	Both     int               `json:"json" codec:",omitempty"`
	Left     int               `json:"-"`
	EText    string            `codec:",omitempty"`
	EBytes   []byte            `codec:",omitempty"`
	EFloat   float64           `codec:",omitempty"`
	EF32     float32           `codec:",omitempty"`
	EI16     int16             `codec:",omitempty"`
	EI32     int32             `codec:",omitempty"`
	EBool    bool              `codec:",omitempty"`
	EMap     map[int]int       `codec:",omitempty"`
	EStruct  inner             `codec:",omitempty"`
	EAsks    asks              `codec:",omitempty"`
	ENever   struct{ X []int } `codec:",omitempty"`
	EAny     any               `codec:",omitempty"`
	EPointer *int              `codec:",omitempty"`
	ETime    time.Duration     `codec:",omitempty"`
	EArray   [2]byte           `codec:",omitempty"`
	hidden   int
}

func TestAsTheLibrary(t *testing.T) {
	twin.Check(t, 1, 2000, all{})
	twin.Check(t, 2, 200, list{}, inner{}, asks{})
}

// TestNothingShared: what was read before stays as it is.
func TestNothingShared(t *testing.T) {
	v := &all{hidden: 1, Pointers: []*inner{{A: 1}}, List: &list{Value: 1}, Of: map[status]*inner{"a": {A: 1}}, Bytes: []byte("old")}
	before := *v
	raw, err := msgpack.Append(nil, &all{Pointers: []*inner{{A: 2}}, List: &list{Value: 2}, Of: map[status]*inner{"a": {A: 2}}, Bytes: []byte("new")})
	if err == nil {
		err = msgpack.Decode(raw, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	if before.Pointers[0].A != 1 || before.List.Value != 1 || before.Of["a"].A != 1 || string(before.Bytes) != "old" {
		t.Errorf("what was read first became %+v", before)
	}
	if v.Pointers[0].A != 2 || v.List.Value != 2 || v.Of["a"].A != 2 || string(v.Bytes) != "new" {
		t.Errorf("read %+v", v)
	}
}

// TestNilAndMissing: nil makes a field zero, what is missing leaves it, and what is not known is skipped.
func TestNilAndMissing(t *testing.T) {
	many, list, bytes := map[int]string{}, make([]int, 70_000), []byte("b")
	for i := range 20 {
		many[i] = strings.Repeat("x", i*20)
	}
	large := map[int]bool{}
	for i := range 70_000 {
		large[i] = true
	}
	raw, err := msgpack.Append(nil, map[string]any{"A": nil, "Pointers": nil, "Any": nil, "Bool": true,
		"unknown": []any{many, large, list, list[:20], bytes, int64(math.MinInt64), uint64(math.MaxUint64), uint8(200), 1.5, float32(1), nil, true, strings.Repeat("z", 70_000)}})
	if err != nil {
		t.Fatal(err)
	}
	v := &all{inner: inner{A: 1, B: "kept"}, Pointers: []*inner{{}}, Any: 1}
	if err := msgpack.Decode(raw, v); err != nil {
		t.Fatal(err)
	}
	if want := (&all{inner: inner{B: "kept"}, Bool: true}); !reflect.DeepEqual(v, want) {
		t.Errorf("read %+v", v)
	}
}

// TestMapsOfStructs: what one value leaves out is not that of the one before.
func TestMapsOfStructs(t *testing.T) {
	type value struct {
		A int `codec:",omitempty"`
		B int `codec:",omitempty"`
	}
	want := map[string]value{"a": {A: 1}, "b": {B: 2}, "c": {A: 3, B: 3}, "d": {}}
	raw, err := msgpack.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var is map[string]value
	if err := msgpack.Decode(raw, &is); err != nil || !reflect.DeepEqual(is, want) {
		t.Errorf("read %v, %v", is, err)
	}
}

func TestWhatIsNoValue(t *testing.T) {
	for _, v := range []any{time.Time{}, netip.Addr{}, make(chan int), func() {}, &struct{ C chan int }{}, []any{1, complex(1, 1)}, struct{ x int }{},
		struct {
			A int
			B int `codec:"A"`
		}{}, struct{ E error }{}} {
		if raw, err := msgpack.Append([]byte("kept"), v); err == nil || string(raw) != "kept" {
			t.Errorf("%T is written as %q, %v", v, raw, err)
		}
	}
	var n int
	for _, into := range []any{nil, n, (*int)(nil)} {
		if err := msgpack.Decode([]byte{1}, into); err == nil {
			t.Errorf("read into a %T", into)
		}
	}
}

func TestWhatDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		raw  string
		into any
		want string
	}{
		"too large":    {"\xcd\x01\x00", new(uint8), "256 does not fit a uint8"},
		"too small":    {"\xd1\xff\x00", new(int8), "-256 does not fit a int8"},
		"negative":     {"\xff", new(uint64), "-1 is below 0"},
		"unsigned":     {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", new(int64), "does not fit"},
		"string":       {"\x01", new(string), "does not begin a string"},
		"number":       {"\xa1a", new(int), "does not begin a number"},
		"bool":         {"\x01", new(bool), "does not begin a bool"},
		"struct":       {"\x90", new(inner), "does not begin a struct"},
		"map":          {"\xa0", new(map[string]int), "does not begin a map"},
		"array":        {"\x80", new([]int), "does not begin an array"},
		"long bytes":   {"\xc4\x05abcde", new([4]byte), "5 bytes are more than 4"},
		"long array":   {"\x93\x01\x02\x03", new([2]int), "longer than 2"},
		"more":         {"\x01\x02", new(int), "1 more bytes follow"},
		"reserved":     {"\xc1", new(any), "does not begin a value"},
		"extension":    {"\xd4\x01\x02", new(any), "does not begin a value"},
		"huge array":   {"\xdd\xff\xff\xff\xff", new([]all), "cut off"},
		"huge map":     {"\xdf\xff\xff\xff\xff", new(map[string]all), "cut off"},
		"huge any":     {"\xdd\xff\xff\xff\xff", new(any), "cut off"},
		"huge string":  {"\xdb\xff\xff\xff\xff", new(string), "cut off"},
		"huge unknown": {"\x81\xa1x\xdd\xff\xff\xff\xff", new(inner), "cut off"},
		"deep any":     {strings.Repeat("\x91", 2000), new(any), "deep in each other"},
		"deep list":    {strings.Repeat("\x81\xa4Next", 2000), new(list), "deep in each other"},
		"deep unknown": {"\x81\xa1x" + strings.Repeat("\x91", 2_000_000), new(inner), "cut off"},
	} {
		if err := msgpack.Decode([]byte(test.raw), test.into); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v and not %q", name, err, test.want)
		}
	}
}

// FuzzDecode: garbage is an error or a value, which is written as it is read.
func FuzzDecode(f *testing.F) {
	raw, err := msgpack.Append(nil, &all{Structs: []inner{{A: 1}}, Config: map[string]any{"a": []any{1, "b"}}, List: &list{Next: &list{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v all
		if msgpack.Decode(raw, &v) != nil {
			return
		}
		again, err := msgpack.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		var second all
		if err := msgpack.Decode(again, &second); err != nil {
			t.Fatal(err)
		}
	})
}
