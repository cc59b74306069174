//go:build !unix

package supervisor

import (
	"context"
	"os"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// Client does nothing on a system on which tasks cannot run.
type Client struct{}

var errSystem = structs.Errorf(structs.Unavailable, "supervisor", "tasks do not run on this system")

// Main fails on a system on which tasks cannot run.
func Main([]string) int { return 1 }

// Now returns the time since this process began.
func Now() time.Duration { return time.Since(began) }

var began = time.Now()

func Connect(context.Context, Options) (*Client, error) { return nil, errSystem }

func (*Client) Close() error                                 { return nil }
func (*Client) Release(context.Context) error                { return errSystem }
func (*Client) Renew(context.Context, time.Duration) error   { return errSystem }
func (*Client) Upgrade(context.Context) error                { return errSystem }
func (*Client) PID(context.Context) (int, error)             { return 0, errSystem }
func (*Client) Version(context.Context) (int, error)         { return 0, errSystem }
func (*Client) List(context.Context) ([]*exec.Status, error) { return nil, errSystem }
func (*Client) Features(context.Context) (*exec.Features, error) {
	return nil, errSystem
}
func (*Client) Start(context.Context, *exec.Launch) (*exec.Status, error) { return nil, errSystem }
func (*Client) Status(context.Context, string) (*exec.Status, error)      { return nil, errSystem }
func (*Client) Wait(context.Context, string) (drivers.Exit, error)        { return drivers.Exit{}, errSystem }
func (*Client) Signal(context.Context, string, int) error                 { return errSystem }
func (*Client) Stop(context.Context, string, int, time.Duration) error    { return errSystem }
func (*Client) Exec(context.Context, string, exec.Command, [3]*os.File) (drivers.Exit, error) {
	return drivers.Exit{}, errSystem
}
func (*Client) Detach(context.Context, string, *exec.Detach) error    { return errSystem }
func (*Client) Terminal(context.Context, string, *os.File) error      { return errSystem }
func (*Client) Stats(context.Context, string) (*drivers.Stats, error) { return nil, errSystem }
func (*Client) Mount(context.Context, string, drivers.Mount) error    { return errSystem }
func (*Client) Unmount(context.Context, string, drivers.Mount) error  { return errSystem }
func (*Client) Limit(context.Context, string, drivers.Limits) error   { return errSystem }
func (*Client) KeepOff(context.Context, []int) error                  { return errSystem }
func (*Client) GivePorts(context.Context, structs.AllocID, []structs.AssignedPort) error {
	return errSystem
}
func (*Client) Forget(context.Context, string) error { return errSystem }

var _ exec.Supervisor = (*Client)(nil)
