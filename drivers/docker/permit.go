package docker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// usual are the capabilities that containers have anyway.
var usual = []string{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
	"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}

// permit says what of a config this node does not allow. The errors are Forbidden, and Invalid for what cannot be.
func (d *Driver) permit(c *config, spec *drivers.Spec) error {
	var problems structs.Problems
	object := "task " + spec.ID + ".config."
	refuse := func(key, why, allow string) {
		p := problems.Add(object+key, "this node does not allow %s", why)
		p.Kind = structs.Forbidden
		p.Advise("leave it out, or allow it with %s in the docker block of the node's configuration", allow)
	}
	all := d.opts.Privileged
	if !all {
		if c.privileged {
			refuse("privileged", "privileged containers", "privileged = true")
		}
		for _, name := range c.capAdd {
			if !slices.Contains(usual, name) && !slices.Contains(d.opts.Capabilities, name) && !slices.Contains(d.opts.Capabilities, "ALL") {
				refuse("cap_add", "the capability "+strings.ToLower(name), "capabilities")
			}
		}
		for _, x := range []struct{ key, value string }{{"pid_mode", c.pidMode}, {"ipc_mode", c.ipcMode}, {"userns_mode", c.usernsMode}} {
			if x.value != "" && x.value != "private" && x.value != "none" {
				refuse(x.key, x.value+" as "+x.key, "privileged = true")
			}
		}
		if strings.HasPrefix(c.network, "container:") {
			refuse("network_mode", "the network of another container", "privileged = true")
		}
		if c.seccomp == structs.SeccompUnconfined {
			refuse("seccomp", "tasks without a filter for system calls", "privileged = true")
		}
		for _, opt := range c.security {
			if opt != "no-new-privileges" && opt != "no-new-privileges:true" && opt != "no-new-privileges=true" {
				refuse("security_opt", "security_opt "+opt, "privileged = true")
			}
		}
		if c.options != nil {
			for _, name := range c.options.guarded {
				refuse("options", "the option "+name, "privileged = true")
			}
		}
		for _, dev := range c.devices {
			if !slices.ContainsFunc(d.opts.Devices, func(allowed string) bool { return within(dev.host, allowed) }) {
				refuse("devices", "the device "+dev.host, "devices")
			}
		}
		if c.logDriver != "" && !slices.Contains(d.opts.LogDrivers, c.logDriver) {
			refuse("log_driver", "the log driver "+c.logDriver, "log_drivers")
		}
		if c.runtime != "" && !slices.Contains(d.opts.Runtimes, c.runtime) {
			refuse("runtime", "the runtime "+c.runtime, "runtimes")
		}
	}
	for _, m := range c.mounts {
		switch m.kind {
		case mountVolume:
			if all {
				continue
			}
			named := func(driver string) bool { return slices.Contains(d.opts.VolumeDrivers, driver) }
			switch local := m.driver == "" || m.driver == localVolumes; {
			case !local && !named(m.driver):
				refuse(m.at, "volumes of the volume driver "+m.driver, "volume_drivers")
			case local && len(m.options) > 0 && !named(localVolumes): // they can name any folder of the node
				refuse(m.at, "options of the volume driver local, which can mount any folder of the node", "\"local\" among volume_drivers")
			case local && !d.opts.Volumes && !named(localVolumes):
				refuse(m.at, "volumes of the engine", "volumes = true")
			}
		case mountBind:
			if !filepath.IsAbs(m.source) {
				continue // below local/, see bind
			}
			real, err := filepath.EvalSymlinks(m.source)
			if err != nil {
				problems.Add(object+m.at, "the node has no %s", m.source)
				continue
			}
			allowed := func(path string) bool {
				return slices.ContainsFunc(d.opts.HostPaths, func(allowed string) bool { return within(path, allowed) })
			}
			if !allowed(m.source) || !allowed(real) {
				refuse(m.at, "tasks to mount "+real, "host_paths")
			}
		}
	}
	return problems.Err()
}

// security are the options of the engine that confine a container. Profiles are the node's, which it hands to the engine itself.
func (d *Driver) security(object string, c *config) ([]string, error) {
	switch c.seccomp {
	case structs.SeccompDefault:
		return c.security, nil
	case structs.SeccompUnconfined:
		return slices.Concat(c.security, []string{"seccomp=unconfined"}), nil
	}
	p, err := d.opts.Profiles.Find(object, c.seccomp)
	if err != nil {
		return nil, err
	}
	return slices.Concat(c.security, []string{"seccomp=" + string(p.JSON)}), nil
}

// HostPaths are the folders that tasks may mount.
func (d *Driver) HostPaths() []string { return d.opts.HostPaths }

// within reports whether a clean path is another one or below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// bind returns the host path of a source. One of the task's own folder is made when it is missing, and belongs to its user; a link in
// it, which an earlier start of the task may have left there, leads nowhere.
func bind(spec *drivers.Spec, m *mountConfig) (string, error) {
	if filepath.IsAbs(m.source) {
		return m.source, nil
	}
	object := "task " + spec.ID + ".config." + m.at
	root, err := os.OpenRoot(spec.TaskDir)
	if err != nil {
		return "", drivers.DiskError(object, err)
	}
	defer root.Close()
	part := ""
	for name := range strings.SplitSeq(m.source, "/") {
		part = filepath.Join(part, name)
		info, err := root.Lstat(part)
		if os.IsNotExist(err) {
			if err = root.Mkdir(part, 0o755); err == nil && os.Geteuid() == 0 {
				uid, gid := drivers.ImageUser(spec.Task.User)
				err = root.Lchown(part, uid, gid)
			}
			if err == nil {
				continue
			}
		}
		if err != nil {
			return "", drivers.DiskError(object, err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return "", structs.Errorf(structs.Forbidden, object, "%s is a link", part)
		}
	}
	return filepath.Join(spec.TaskDir, m.source), nil
}
