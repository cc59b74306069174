package oci

import (
	"context"
	"log/slog"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// Options are the node's configuration of the driver.
type Options struct {
	// Dir is where containers are: their configurations, their roots, what they write to them.
	Dir string
	// Runtime is the path or name of an OCI runtime with runc's commands; empty: crun or runc, whichever is there and can.
	Runtime string
	// HostPaths are folders of the node that tasks may mount, with what is below them; whoever may submit jobs may read and
	// write them. Empty: none.
	HostPaths []string
	// CDI are folders of files about devices; nil: /etc/cdi and /var/run/cdi.
	CDI []string
	// AllowUnconfined lets tasks ask for seccomp = "unconfined".
	AllowUnconfined bool
	Profiles        *seccomp.Profiles // that tasks may name; nil: none
	HostNamespaces  []string          // "pid" and "ipc": namespaces of the node that tasks may ask for
	// StartTimeout is how long a start may take in the runtime before it is given up; 0: 2 minutes.
	StartTimeout time.Duration
	// CleanEvery is how often images that nobody uses are looked for; 0: 10 minutes.
	CleanEvery time.Duration
	Logger     *slog.Logger
}

var (
	_ drivers.Driver   = (*Driver)(nil)
	_ drivers.Rooted   = (*Driver)(nil)
	_ drivers.Preparer = (*Driver)(nil)
	_ drivers.Sweeper  = (*Driver)(nil)
	_ drivers.Keeper   = (*Driver)(nil)

	_ drivers.PortKeeper = (*Driver)(nil)
)

// Name is "oci".
func (d *Driver) Name() string { return "oci" }

// Validate checks a task's config. It needs no node: (*Driver)(nil).Validate works.
func (d *Driver) Validate(object string, config map[string]any) error {
	_, err := parse(object, config)
	return err
}

// View says where a task sees its folders.
func (d *Driver) View(context.Context, *structs.Task) (drivers.View, error) {
	return drivers.View{Shared: "/alloc", Task: "/", Image: true}, nil
}
