package agent

import (
	"context"
	"log/slog"

	"github.com/proffer/proffer/drivers/oci"
	"github.com/proffer/proffer/drivers/oci/images"
)

// oci makes the driver and the store of its images.
func (a *Agent) oci(log *slog.Logger) (*oci.Driver, error) {
	c := a.config.Client.OCI
	registries := map[string]images.Registry{}
	for _, r := range c.Registry {
		registries[r.Host] = images.Registry{Mirrors: r.Mirrors, Username: r.Username, Password: r.Password.Reveal(), Insecure: r.Insecure}
	}
	store, err := images.Open(a.sub("oci/images"), images.Options{MaxAge: c.ImageAge.Std(), MaxBytes: c.ImageSize, MaxImage: c.MaxLayer,
		Stall: c.Stall.Std(), Registries: registries, Logger: log})
	if err != nil {
		return nil, err
	}
	a.began(func(context.Context) { store.Close() })
	return oci.New(a.sup, store, oci.Options{Dir: a.sub("oci/containers"), Runtime: c.Runtime, HostPaths: c.HostPaths, Logger: log,
		AllowUnconfined: a.config.Client.Unconfined}), nil
}
