package exec

import (
	"context"
	"log/slog"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Options are the node's configuration of the driver.
type Options struct {
	AllowNone bool // tasks may ask for isolation = "none"
	Logger    *slog.Logger
}

// Driver runs programs in isolation. It implements drivers.Driver.
type Driver struct {
	sup  Supervisor
	opts Options
}

// New makes the driver over the node's supervisor.
func New(sup Supervisor, opts Options) *Driver { return &Driver{sup: sup, opts: opts} }

// Name is "exec".
func (d *Driver) Name() string { return "exec" }

// Validate checks a task's config. It needs no node and no Driver made by New: (*Driver)(nil).Validate works.
func (d *Driver) Validate(object string, config map[string]any) error { return nil }

func (d *Driver) Fingerprint(ctx context.Context) *structs.Driver { return nil }

func (d *Driver) Start(ctx context.Context, spec *drivers.Spec) (drivers.Task, error) {
	return nil, nil
}

func (d *Driver) Recover(ctx context.Context, spec *drivers.Spec, handle []byte) (drivers.Task, error) {
	return nil, nil
}
