package supervisor

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
)

// Options say where the supervisor of a node is and how to start one.
type Options struct {
	Dir    string   // its folder: socket, table, log. Made when absent, mode 0700
	Binary []string // program and arguments that run Main; nil: this executable with "supervisor"
	Hide   []string // host paths that isolated tasks must not see, beside the usual ones
	Logger *slog.Logger
}

// Client is the agent's side. It reconnects, and starts a supervisor when there is none. It implements exec.Supervisor.
type Client struct{ opts Options }

// Connect reaches the supervisor in opts.Dir and starts it when absent.
func Connect(ctx context.Context, opts Options) (*Client, error) { return &Client{opts: opts}, nil }

// Close ends the connection; tasks and the supervisor go on.
func (c *Client) Close() error { return nil }

// Release tells the supervisor that the agent stops for good: it ends at once when it has no tasks, and with the last
// one otherwise. Close follows.
func (c *Client) Release(ctx context.Context) error { return nil }

// Renew moves the end of the node's lease to until, in CLOCK_BOOTTIME (see Now). Fenced tasks are killed when it passes.
func (c *Client) Renew(ctx context.Context, until time.Duration) error { return nil }

// Upgrade makes the supervisor replace itself in place by opts.Binary; tasks notice nothing.
func (c *Client) Upgrade(ctx context.Context) error { return nil }

// List returns all tasks that the supervisor knows, ended ones that were not forgotten included.
func (c *Client) List(ctx context.Context) ([]*exec.Status, error) { return nil, nil }

func (c *Client) Start(ctx context.Context, launch *exec.Launch) (*exec.Status, error) {
	return nil, nil
}
func (c *Client) Status(ctx context.Context, id string) (*exec.Status, error) { return nil, nil }
func (c *Client) Wait(ctx context.Context, id string) (drivers.Exit, error) {
	return drivers.Exit{}, nil
}
func (c *Client) Signal(ctx context.Context, id string, signal int) error { return nil }
func (c *Client) Stop(ctx context.Context, id string, signal int, grace time.Duration) error {
	return nil
}
func (c *Client) Exec(ctx context.Context, id string, args []string, tty bool, stdio [3]*os.File) (drivers.Exit, error) {
	return drivers.Exit{}, nil
}
func (c *Client) Stats(ctx context.Context, id string) (*drivers.Stats, error) { return nil, nil }
func (c *Client) Forget(ctx context.Context, id string) error                  { return nil }
