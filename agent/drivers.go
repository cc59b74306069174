package agent

import (
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/drivers/oci"
	"github.com/proffer/proffer/structs"
)

// Validators check the driver config of tasks at submission and at `job validate`, without a node.
func Validators() structs.ConfigChecks {
	return structs.ConfigChecks{"exec": {Config: (*exec.Driver)(nil).Validate}, "oci": {Config: (*oci.Driver)(nil).Validate},
		"docker": {Config: (*docker.Driver)(nil).Validate, Unfenced: docker.Unfenced}, "mock": {Config: mock.New(nil).Validate}}
}

// drivers makes what this node is configured to offer.
func (a *Agent) drivers(log *slog.Logger) (out []drivers.Driver, err error) {
	c := a.config.Client
	names := c.Drivers
	if len(names) == 0 {
		names = []string{"exec", "docker"}
		if runtime.GOOS == "linux" {
			names = append(names, "oci")
		}
		if a.config.Dev {
			names = append(names, "mock")
		}
	}
	for _, name := range names {
		switch name {
		case "exec":
			out = append(out, exec.New(a.sup, exec.Options{AllowNone: c.IsolationNone, AllowUnconfined: c.Unconfined, Profiles: &a.profiles, HostNamespaces: c.ShareHost,
				DefaultNone: a.config.Dev && os.Geteuid() != 0, Logger: log.With("driver", name)}))
		case "docker":
			out = append(out, docker.New(a.docker(log.With("driver", name))))
		case "oci":
			d, err := a.oci(log.With("driver", name))
			if err != nil {
				return nil, err
			}
			out = append(out, d)
		case "mock":
			out = append(out, mock.New(mock.NewMachine(false)))
		default:
			return nil, structs.Errorf(structs.Invalid, "client.drivers", "there is no driver %q", name).
				Advise("this version has exec, docker, oci and mock")
		}
	}
	return out, nil
}

// docker is the node's configuration of the docker driver.
func (a *Agent) docker(log *slog.Logger) docker.Options {
	c := a.config.Client.Docker
	o := docker.Options{
		Endpoint: c.Endpoint, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		Owner: a.config.NodeName + ":" + a.sub("client"), Folder: a.sub("docker"),
		Privileged: c.Privileged, Volumes: c.Volumes, VolumeDrivers: c.VolumeDrivers, HostPaths: c.HostPaths, Devices: c.Devices, Runtimes: c.Runtimes, LogDrivers: c.LogDrivers,
		CallTimeout: c.CallTimeout.Std(), PullStall: c.PullStall.Std(), AuthFile: c.AuthFile, Registries: registries(c.Registries),
		ImageAge: c.ImageAge.Std(), ImageDisk: *c.ImageDiskUse, Profiles: &a.profiles, Logger: log,
	}
	for _, name := range c.Capabilities {
		o.Capabilities = append(o.Capabilities, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	return o
}

func registries(all []*config.Registry) map[string]*docker.Credentials {
	out := make(map[string]*docker.Credentials, len(all))
	for _, r := range all {
		out[r.Name] = &docker.Credentials{Username: r.Username, Password: r.Password.Reveal(), Token: r.Token.Reveal()}
	}
	return out
}
