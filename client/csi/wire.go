package csi

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// message is one of protobuf while it is encoded. What has the value that nothing has is left out, except for messages.
type message []byte

func (m *message) key(field, kind uint64) { *m = binary.AppendUvarint(*m, field<<3|kind) }

func (m *message) bytes(field uint64, b []byte) {
	m.key(field, 2)
	*m = append(binary.AppendUvarint(*m, uint64(len(b))), b...)
}

func (m *message) text(field uint64, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

func (m *message) number(field uint64, n int64) {
	if n != 0 {
		m.key(field, 0)
		*m = binary.AppendUvarint(*m, uint64(n))
	}
}

func (m *message) flag(field uint64, set bool) {
	if set {
		m.number(field, 1)
	}
}

func (m *message) texts(field uint64, of map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		var entry message
		entry.text(1, name)
		entry.text(2, of[name])
		m.bytes(field, entry)
	}
}

var errWire = errors.New("the plugin's answer cannot be read")

// each calls f with the fields of a message: n of a number, b of what has a length. Others are left out.
func each(raw []byte, f func(field uint64, n int64, b []byte) error) error {
	for len(raw) > 0 {
		key, size := binary.Uvarint(raw)
		if size <= 0 {
			return errWire
		}
		raw = raw[size:]
		n, size := uint64(0), 0
		switch key & 7 {
		case 0:
			if n, size = binary.Uvarint(raw); size <= 0 {
				return errWire
			}
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			length, head := binary.Uvarint(raw)
			if head <= 0 || length > uint64(len(raw)-head) {
				return errWire
			}
			if err := f(key>>3, 0, raw[head:head+int(length)]); err != nil {
				return err
			}
			raw = raw[head+int(length):]
			continue
		default:
			return errWire
		}
		if size > len(raw) {
			return errWire
		}
		if key&7 == 0 {
			if err := f(key>>3, int64(n), nil); err != nil {
				return err
			}
		}
		raw = raw[size:]
	}
	return nil
}

// pair adds an entry of a map.
func pair(raw []byte, to *map[string]string) error {
	var name, value string
	err := each(raw, func(field uint64, _ int64, b []byte) error {
		switch field {
		case 1:
			name = string(b)
		case 2:
			value = string(b)
		}
		return nil
	})
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[name] = value
	return err
}

// segments reads a Topology.
func segments(raw []byte) (out map[string]string, err error) {
	err = each(raw, func(field uint64, _ int64, b []byte) error {
		if field != 1 {
			return nil
		}
		return pair(b, &out)
	})
	return out, err
}

// capabilities reads the types of a list of capabilities: field 1 has them, each with its type as field 1 of its field kind.
func capabilities(raw []byte, kind uint64) (types []int64, err error) {
	err = each(raw, func(field uint64, _ int64, one []byte) error {
		if field != 1 {
			return nil
		}
		return each(one, func(field uint64, _ int64, b []byte) error {
			if field != kind {
				return nil
			}
			return each(b, func(field uint64, n int64, _ []byte) error {
				if field == 1 {
					types = append(types, n)
				}
				return nil
			})
		})
	})
	return types, err
}
