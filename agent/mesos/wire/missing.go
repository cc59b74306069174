package wire

import (
	"reflect"
	"strings"
)

// ownFields are the numbers from which on fields are beyond what Mesos has.
const ownFields = 1000

// Missing names the first thing that a call of an operator has to have and has not: its type, or the payload that is called like the type.
// Empty: it has both. Payloads of calls that ask for something may be left out, those that Mesos does not have, and
// that of PRUNE_IMAGES, which only says what stays.
func Missing(call any) string {
	v := reflect.ValueOf(call).Elem()
	l := layoutOf(v.Type())
	kind := l.byName["type"]
	is := v.Field(kind.index)
	if is.IsNil() {
		return kind.name
	}
	name := strings.ToLower(kind.names[int32(is.Elem().Int())])
	if f := l.byName[name]; f != nil && !f.set(v.Field(f.index)) && !strings.HasPrefix(name, "get_") && name != "prune_images" && f.number < ownFields {
		return name
	}
	return ""
}
