//go:build !linux

package oci

import (
	"context"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// Driver needs Linux.
type Driver struct{}

// New makes a driver that says so.
func New(exec.Supervisor, *images.Store, Options) *Driver { return &Driver{} }

func refuse() error { return structs.Errorf(structs.Unavailable, "driver oci", "it needs Linux") }

func (d *Driver) Fingerprint(context.Context) *structs.Driver {
	return &structs.Driver{Why: "it needs Linux"}
}

func (d *Driver) Prepare(context.Context, *drivers.Spec) error { return refuse() }

func (d *Driver) Start(context.Context, *drivers.Spec) (drivers.Task, error) { return nil, refuse() }

func (d *Driver) Recover(context.Context, *drivers.Spec, []byte) (drivers.Task, error) {
	return nil, refuse()
}

func (d *Driver) GivePorts(context.Context, structs.AllocID, []structs.AssignedPort) error {
	return nil
}

// PullImages needs Linux.
func (d *Driver) PullImages(context.Context, *drivers.Spec) error { return refuse() }

// MountImages needs Linux.
func (d *Driver) MountImages(context.Context, *drivers.Spec) ([]drivers.Mount, error) {
	return nil, refuse()
}

// UnmountImages has nothing to do.
func (d *Driver) UnmountImages(*drivers.Spec) error { return nil }

// WrittenToImages has nothing to say.
func (d *Driver) WrittenToImages(context.Context, *drivers.Spec, bool, drivers.Sizes) (structs.Bytes, error) {
	return 0, nil
}

// Sweep has nothing to do.
func (d *Driver) Sweep(context.Context, func(string) bool) error { return nil }

func (d *Driver) Keep(context.Context, func(string) bool) {}

func (d *Driver) Prune(context.Context, []string) error { return nil }
