//go:build !unix

package exec

import (
	"context"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func (t *task) enter(context.Context, Command, drivers.Command) (drivers.Exit, error) {
	return drivers.Exit{}, structs.Errorf(structs.Unavailable, "exec", "tasks do not run on this system")
}

func (t *task) Exec(context.Context, drivers.Command) (drivers.Exit, error) {
	return drivers.Exit{}, structs.Errorf(structs.Unavailable, "exec", "tasks do not run on this system")
}
