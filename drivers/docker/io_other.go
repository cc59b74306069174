//go:build !linux

package docker

import (
	"github.com/moby/moby/api/types/container"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func (*Driver) boundIO(spec *drivers.Spec, _ *container.Resources) error {
	return structs.Errorf(structs.Unavailable, "task "+spec.ID, "bounds of its disk use are for Linux")
}
