package agent

import (
	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/client/fetch"
	"github.com/proffer/proffer/drivers/oci/registry"
)

// fetching is the node's configuration of artifacts. Registries are those of the oci driver. The block for * comes last: it is for what no other has.
func fetching(c *config.Artifact, registries map[string]registry.Host) fetch.Options {
	o := fetch.Options{Size: c.CacheSize, MaxSize: c.MaxSize, MaxUnpacked: c.MaxUnpacked, Parallel: c.Parallel, Timeout: c.Timeout.Std(),
		Stall: c.Stall.Std(), Folders: c.Folders, Registries: registries}
	var rest []fetch.Store
	for _, s := range c.S3 {
		st := fetch.Store{Bucket: s.Bucket, Endpoint: s.Endpoint, Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey.Reveal()}
		if s.Bucket == "*" {
			st.Bucket = ""
			rest = append(rest, st)
			continue
		}
		o.Stores = append(o.Stores, st)
	}
	o.Stores = append(o.Stores, rest...)
	return o
}
