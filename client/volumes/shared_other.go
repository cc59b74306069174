//go:build !linux

package volumes

import "github.com/proffer/proffer/structs"

func shared(object, folder string, spread structs.Propagation) error {
	return structs.Errorf(structs.Unavailable, object, "%s needs Linux", spread)
}
