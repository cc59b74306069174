package agent

import (
	"log/slog"
	"os"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// Validators check the driver config of tasks at submission and at `job validate`, without a node.
func Validators() structs.ConfigChecks {
	return structs.ConfigChecks{"exec": (*exec.Driver)(nil).Validate, "mock": mock.New(nil).Validate}
}

// drivers makes what this node is configured to offer.
func (a *Agent) drivers(log *slog.Logger) (out []drivers.Driver, err error) {
	c := a.config.Client
	names := c.Drivers
	if len(names) == 0 {
		names = []string{"exec"}
		if a.config.Dev {
			names = append(names, "mock")
		}
	}
	for _, name := range names {
		switch name {
		case "exec":
			out = append(out, exec.New(a.sup, exec.Options{AllowNone: c.IsolationNone,
				DefaultNone: a.config.Dev && os.Geteuid() != 0, Logger: log.With("driver", name)}))
		case "mock":
			out = append(out, mock.New(mock.NewMachine(false)))
		default:
			return nil, structs.Errorf(structs.Invalid, "client.drivers", "there is no driver %q", name).
				Advise("this version has exec and mock")
		}
	}
	return out, nil
}
