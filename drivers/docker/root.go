package docker

import (
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"github.com/proffer/proffer/drivers"
)

// roots says whether the engine bounds what a container writes to its root. Engines do not tell: overlay2 on xfs does where the file system
// is mounted with pquota, and where it is not the engine refuses the first container that asks for it. So that one is the probe.
type roots struct {
	mu      sync.Mutex
	storage string // of the engine, as last seen: driver, file system and folder
	bounds  bool   // as far as is known
}

// see notes the storage of the engine. What an engine refused holds as long as that is the same.
func (r *roots) see(i *system.Info) {
	backing := ""
	for _, x := range i.DriverStatus {
		if x[0] == "Backing Filesystem" {
			backing = x[1]
		}
	}
	storage := i.Driver + " " + backing + " " + i.DockerRootDir
	r.mu.Lock()
	defer r.mu.Unlock()
	if storage != r.storage {
		r.storage, r.bounds = storage, i.Driver == "overlay2" && backing == "xfs"
	}
}

// refused notes that the engine cannot.
func (r *roots) refused() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bounds = false
}

// bound has the engine bound the root of a container by what its allocation may take of the disk, if it can.
func (r *roots) bound(spec *drivers.Spec, host *container.HostConfig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bounds && spec.Disk > 0 && host.StorageOpt == nil {
		host.StorageOpt = map[string]string{sizeOption: strconv.FormatInt(int64(spec.Disk), 10)}
	}
}

const sizeOption = "size"

// unbound takes the bound of a container away that the engine refused for it: then its root is measured, as with engines that say so
// beforehand. False: that was not why, or the task asked for it itself.
func (r *roots) unbound(c *config, host *container.HostConfig, err error) bool {
	var asked container.HostConfig
	if c.options.apply(&asked) != nil || asked.StorageOpt != nil || host.StorageOpt == nil || !strings.Contains(err.Error(), "storage-opt") {
		return false
	}
	r.refused()
	host.StorageOpt = nil
	return true
}
