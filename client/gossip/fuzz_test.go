package gossip

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Whatever another member says of itself, it is taken or not.
func FuzzMeta(f *testing.F) {
	m := Member{Name: "n", ID: "00112233445566778899aabbccddeeff", Role: RoleServer, FeatureMax: 1, Expect: 3, Region: "r", Datacenter: "dc",
		Version: "1.0.0", splits: 2}
	raw, err := m.meta(7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for i := len(raw); i > metaFixed; i-- {
		f.Add(raw[:i])
	}
	// Texts of 255 bytes, of which a length and one do not fit in a byte.
	for texts := 1; texts < 4; texts++ {
		f.Add(append(raw[:metaFixed:metaFixed], bytes.Repeat(append([]byte{255}, make([]byte, 255)...), texts)...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, run, ok := parseMeta(raw)
		if !ok {
			return
		}
		again, err := m.meta(run)
		if err != nil {
			return // longer than we would say it
		}
		if back, r, ok := parseMeta(again); !ok || r != run || back.ID != m.ID || back.Region != m.Region || back.Datacenter != m.Datacenter {
			t.Fatalf("%+v became %+v", m, back)
		}
	})
}

func FuzzNotices(f *testing.F) {
	n := notice{name: "node", run: 9, final: true}
	f.Add(n.message())
	f.Add(n.append(n.message()))
	f.Add([]byte{noticeType, 255, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		all := parseNotices(raw)
		if len(all) > len(raw)/10 {
			t.Fatalf("%d notices in %d bytes", len(all), len(raw))
		}
		at := 1
		for _, n := range all {
			if at++; string(raw[at:at+len(n.name)]) != n.name || binary.BigEndian.Uint32(raw[at+len(n.name):]) != n.run {
				t.Fatalf("%+v is not in %x", n, raw)
			}
			at += len(n.name) + 9
		}
	})
}
