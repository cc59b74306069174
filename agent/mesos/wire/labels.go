package wire

import (
	"maps"
	"slices"
)

// LabelsOf returns names and values as labels, by name; nil of none.
func LabelsOf(all map[string]string) *Labels {
	if len(all) == 0 {
		return nil
	}
	out := &Labels{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.Labels = append(out.Labels, Label{Key: name, Value: new(all[name])})
	}
	return out
}

// Map returns labels as names and values, nil of none. Of several of one name it is the last.
func (l *Labels) Map() map[string]string {
	if l == nil || len(l.Labels) == 0 {
		return nil
	}
	out := make(map[string]string, len(l.Labels))
	for _, x := range l.Labels {
		out[x.Key] = ""
		if x.Value != nil {
			out[x.Key] = *x.Value
		}
	}
	return out
}
