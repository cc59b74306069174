package structs

import "reflect"

// Clone returns a copy that shares nothing with j; nil stays nil.
func (j *Job) Clone() *Job { return clone(j) }

// Clone returns a copy that shares nothing with r; nil stays nil.
func (r *Role) Clone() *Role { return clone(r) }

func clone[T any](v T) T {
	var out T
	deepCopy(reflect.ValueOf(&out).Elem(), reflect.ValueOf(&v).Elem())
	return out
}

// deepCopy sets to, a zero value, to a copy of from. Nouns hold pointers, slices, maps, interfaces and plain values only.
func deepCopy(to, from reflect.Value) {
	switch from.Kind() {
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(from.Type().Elem()))
			deepCopy(to.Elem(), from.Elem())
		}
	case reflect.Interface:
		if !from.IsNil() {
			v := reflect.New(from.Elem().Type()).Elem()
			deepCopy(v, from.Elem())
			to.Set(v)
		}
	case reflect.Slice:
		if !from.IsNil() {
			to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				deepCopy(to.Index(i), from.Index(i))
			}
		}
	case reflect.Map:
		if !from.IsNil() {
			to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
			for it := from.MapRange(); it.Next(); {
				v := reflect.New(from.Type().Elem()).Elem()
				deepCopy(v, it.Value())
				to.SetMapIndex(it.Key(), v)
			}
		}
	case reflect.Struct:
		for i := range from.NumField() {
			deepCopy(to.Field(i), from.Field(i))
		}
	default:
		to.Set(from)
	}
}
