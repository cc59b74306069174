package structs

import (
	"iter"
	"maps"
	"slices"
)

// All yields the resources that q names, with their amounts in the unit of each (thousandths, bytes), in a fixed order.
// Nil names none.
func (q *QuotaAmount) All() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		if q == nil || q.CPU != nil && !yield("cpu", int64(*q.CPU)) ||
			q.Memory != nil && !yield("memory", int64(*q.Memory)) || q.Disk != nil && !yield("disk", int64(*q.Disk)) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(q.Custom)) {
			if !yield(name, int64(q.Custom[name])) {
				return
			}
		}
	}
}

// Of returns the amount of a resource by the name that quotas have for it.
func (q *QuotaAmount) Of(resource string) (amount int64, named bool) {
	for name, v := range q.All() {
		if name == resource {
			return v, true
		}
	}
	return 0, false
}

// Guaranteed is the guarantee of a role, or nil.
func (r *Role) Guaranteed() *QuotaAmount {
	if r.Quota == nil {
		return nil
	}
	return r.Quota.Guarantee
}

// Limited is the limit of a role, or nil.
func (r *Role) Limited() *QuotaAmount {
	if r.Quota == nil {
		return nil
	}
	return r.Quota.Limit
}

// Amount returns how much r has of a resource by the name that quotas have for it: thousandths, or bytes.
func (r Resources) Amount(resource string) int64 {
	switch resource {
	case "cpu":
		return int64(r.CPU)
	case "memory":
		return int64(r.Memory)
	case "disk":
		return int64(r.Disk)
	}
	return int64(r.Custom[resource])
}

// With returns r with another amount of a resource by that name.
func (r Resources) With(resource string, amount int64) Resources {
	switch resource {
	case "cpu":
		r.CPU = Milli(amount)
	case "memory":
		r.Memory = Bytes(amount)
	case "disk":
		r.Disk = Bytes(amount)
	default:
		custom := make(map[string]Milli, len(r.Custom)+1)
		maps.Copy(custom, r.Custom)
		custom[resource] = Milli(amount)
		r.Custom = custom
	}
	return r
}

// AmountText writes an amount of a resource for people.
func AmountText(resource string, amount int64) string {
	text, _ := AmountsText(resource, amount, amount)
	return text
}

// AmountsText writes two amounts of a resource for people, so that they look alike only when they are equal.
func AmountsText(resource string, x, y int64) (string, string) {
	if resource == "memory" || resource == "disk" {
		return Apart(Bytes(x), Bytes(y))
	}
	return Milli(x).String(), Milli(y).String()
}

func (q *QuotaAmount) problems(p *Problems, at string) {
	if q == nil {
		return
	}
	if q.CPU != nil && (*q.CPU < 0 || *q.CPU > 1e12) {
		p.Add(at+".cpu", "%s cores are out of range", *q.CPU)
	}
	for _, size := range []struct {
		name string
		v    *Bytes
	}{{"memory", q.Memory}, {"disk", q.Disk}} {
		if size.v != nil {
			checkSize(p, at+"."+size.name, *size.v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Custom)) {
		if !ValidName(name) {
			p.Add(at+".custom."+name, "%q is not a name for a resource", name)
		} else if q.Custom[name] < 0 || q.Custom[name] > 1e15 {
			p.Add(at+".custom."+name, "%s is out of range (0 to 1e12)", q.Custom[name])
		}
	}
}
