package items

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// same reports whether nobody would see a difference.
func same(a, b *session.Item) bool {
	return a != nil && a.Missing == b.Missing && a.Unknown == b.Unknown && a.Secret == b.Secret && maps.Equal(a.Values, b.Values) &&
		slices.EqualFunc(a.Instances, b.Instances, func(x, y *structs.ServiceInstance) bool {
			return x.Address == y.Address && x.Port == y.Port && x.Alloc == y.Alloc && slices.Equal(x.Tags, y.Tags) && x.NodeName == y.NodeName
		})
}
