package agent

import (
	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// readProfiles takes over the seccomp profiles that a folder has now, and reports whether they are others than before. What is wrong with a file
// is in the log: it is no profile. After an error nothing has changed.
func (a *Agent) readProfiles(dir string) (changed bool, err error) {
	good, bad, err := seccomp.Read(dir)
	if err != nil {
		return false, structs.Errorf(structs.Invalid, "client.seccomp_profiles", "%w", err).Advise("name a folder that is there, or leave it out")
	}
	for _, why := range bad {
		a.log.Error("a file is no seccomp profile, and no task can have it", "why", why)
	}
	if a.profiles.Equal(good) {
		return false, nil
	}
	a.profiles.Set(good)
	return true, nil
}

// rereadProfiles is readProfiles for an agent that runs: nodes are told what tasks can have from now on.
func (a *Agent) rereadProfiles() {
	if a.client == nil || a.live.Client == nil {
		return
	}
	changed, err := a.readProfiles(a.live.Client.Profiles)
	if err != nil {
		a.log.Error("the seccomp profiles are those of before", "err", err)
	}
	if changed {
		a.reconfigure(a.live.Client)
	}
}

// reconfigure has the node take over settings, and tell what it is by them.
func (a *Agent) reconfigure(c *config.Client) {
	if a.client == nil {
		return
	}
	err := a.client.Reconfigure(a.ctx, client.Settings{Meta: c.Meta, Attributes: c.Attributes,
		Resources: c.Resources.Amount(), Reserved: c.Reserved.Amount(), For: c.ReservedFor(), Volumes: hostVolumes(c.HostVolumes), Disks: disks(c.Disks), GC: gc(c.GC)})
	if err != nil {
		a.log.Error("the node's settings were not taken over", "err", err)
	}
}
