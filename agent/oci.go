package agent

import (
	"context"
	"log/slog"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/drivers/oci"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/drivers/oci/registry"
)

// oci makes the driver and the store of its images.
func (a *Agent) oci(log *slog.Logger) (*oci.Driver, error) {
	c := a.config.Client.OCI
	store, err := images.Open(a.sub("oci/images"), images.Options{MaxAge: c.ImageAge.Std(), MaxBytes: c.ImageSize, MaxImage: c.MaxLayer,
		Stall: c.Stall.Std(), Registries: registryHosts(c), Logger: log})
	if err != nil {
		return nil, err
	}
	a.began(func(context.Context) { store.Close() })
	return oci.New(a.sup, store, oci.Options{Dir: a.sub("oci/containers"), Runtime: c.Runtime, HostPaths: c.HostPaths, Logger: log,
		AllowUnconfined: a.config.Client.Unconfined, Profiles: &a.profiles, HostNamespaces: a.config.Client.ShareHost}), nil
}

// registryHosts are the registries that the node knows how to reach: for images of the oci driver and for artifacts.
func registryHosts(c *config.OCI) map[string]registry.Host {
	out := map[string]registry.Host{}
	for _, r := range c.Registry {
		out[r.Host] = registry.Host{Mirrors: r.Mirrors, Username: r.Username, Password: r.Password.Reveal(), Insecure: r.Insecure}
	}
	return out
}
