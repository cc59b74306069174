package mesos

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// AttributesOf returns the meta of a node as the attributes of an agent, by name. Of what type one is shows in its text, as with an agent of
// Mesos: a number that is at least zero is a SCALAR, ranges as in "[1-10, 20-30]" are RANGES, all else is TEXT. A number that is written
// otherwise than it would be printed stays TEXT: 1.10 may be a version, and 007 a name.
func AttributesOf(meta map[string]string) (out []wire.Attribute) {
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		out = append(out, attributeOf(name, meta[name]))
	}
	return out
}

func attributeOf(name, text string) wire.Attribute {
	if x, ok := numberIn(text); ok {
		return wire.Attribute{Name: name, Type: wire.ValueScalar, Scalar: &wire.Scalar{Value: x}}
	}
	if list, ok := rangeList(text); ok {
		return wire.Attribute{Name: name, Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: list}}
	}
	return wire.Attribute{Name: name, Type: wire.ValueText, Text: &wire.Text{Value: text}}
}

// numberIn reads a number.
func numberIn(text string) (float64, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' || len(text) > 16 {
		return 0, false
	}
	x, err := strconv.ParseFloat(text, 64)
	return x, err == nil && strconv.FormatFloat(x, 'f', -1, 64) == text
}

// rangeList reads ranges of whole numbers, in brackets, in order and apart.
func rangeList(text string) (out []wire.Range, ok bool) {
	if !strings.HasPrefix(text, "[") {
		return nil, false
	}
	text = strings.ReplaceAll(text, " ", "")
	all, err := structs.ParseRanges(strings.Trim(text, "[]"))
	if err != nil {
		return nil, false
	}
	again := make([]string, 0, len(all))
	for _, x := range all {
		out = append(out, wire.Range{Begin: uint64(x.First), End: uint64(x.Last)})
		again = append(again, fmt.Sprintf("%d-%d", x.First, x.Last))
	}
	return out, text == "["+strings.Join(again, ",")+"]"
}
