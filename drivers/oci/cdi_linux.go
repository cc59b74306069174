package oci

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.yaml.in/yaml/v3"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// cdi reads what vendors say that a container needs beside the nodes of a device: files of the Container Device Interface, in JSON or
// YAML (https://github.com/cncf-tags/container-device-interface). Only root may write there, and what they say is done.
type cdi struct{ folders []string }

func (d *Driver) cdi() cdi {
	if d.opts.CDI != nil {
		return cdi{d.opts.CDI}
	}
	return cdi{[]string{"/etc/cdi", "/var/run/cdi"}}
}

// Bounds of what is read.
const (
	maxCDIFile  = 4 << 20
	maxCDIFiles = 64
)

type cdiSpec struct {
	Kind    string
	Devices []struct {
		Name  string
		Edits cdiEdits `yaml:"containerEdits"`
	}
	Edits cdiEdits `yaml:"containerEdits"`
}

type cdiEdits struct {
	Env   []string
	Nodes []struct {
		Path     string
		HostPath string `yaml:"hostPath"`
	} `yaml:"deviceNodes"`
	Mounts []struct {
		HostPath      string `yaml:"hostPath"`
		ContainerPath string `yaml:"containerPath"`
		Options       []string
	}
	Hooks []struct {
		Name    string `yaml:"hookName"`
		Path    string
		Args    []string
		Env     []string
		Timeout *int
	}
}

// apply edits a container for its devices: each is the device of a file that has its node, and of several the one with the fewest nodes,
// because there is also one that stands for all. What no file knows has its nodes and nothing else.
func (c cdi) apply(object string, in *input, devices []drivers.Device) error {
	all, err := c.read(object)
	if err != nil {
		return err
	}
	for i := range all {
		used := false
		for _, d := range devices {
			if d.ID == "" {
				continue
			}
			best := -1
			for j, known := range all[i].Devices {
				has := known.Name == d.ID
				for _, n := range known.Edits.Nodes {
					has = has || n.Path == d.Path
				}
				if has && (best < 0 || len(known.Edits.Nodes) < len(all[i].Devices[best].Edits.Nodes)) {
					best = j
				}
			}
			if best >= 0 {
				used = true
				if err := all[i].Devices[best].Edits.into(object, in); err != nil {
					return err
				}
			}
		}
		if used {
			if err := all[i].Edits.into(object, in); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c cdi) read(object string) (all []*cdiSpec, err error) {
	for _, dir := range c.folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most nodes have none
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); ext != ".json" && ext != ".yaml" && ext != ".yml" || len(all) >= maxCDIFiles {
				continue
			}
			path := filepath.Join(dir, e.Name())
			s, err := readCDI(path)
			if err != nil {
				return nil, structs.Errorf(structs.Unavailable, object, "%s: %w", path, err)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func readCDI(path string) (*cdiSpec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxCDIFile))
	if err != nil {
		return nil, err
	}
	s := &cdiSpec{}
	return s, yaml.Unmarshal(raw, s) // JSON is YAML
}

// into makes the edits. A node that the container has already stays as it is.
func (e *cdiEdits) into(object string, in *input) error {
	for _, kv := range e.Env {
		if name, _, ok := strings.Cut(kv, "="); ok && name != "NVIDIA_VISIBLE_DEVICES" { // the node says that
			in.env = append(in.env, kv)
		}
	}
	for _, n := range e.Nodes {
		if slices.ContainsFunc(in.devices, func(d specs.LinuxDevice) bool { return d.Path == n.Path }) {
			continue
		}
		host := n.HostPath
		if host == "" {
			host = n.Path
		}
		node, err := deviceNode(host, n.Path)
		if err != nil {
			return structs.Errorf(structs.Unavailable, object, "%w", err)
		}
		in.devices = append(in.devices, node)
	}
	for _, m := range e.Mounts {
		in.binds = append(in.binds, bind{m.HostPath, m.ContainerPath, slices.Contains(m.Options, "ro"), ""})
	}
	for _, h := range e.Hooks {
		if in.hooks == nil {
			in.hooks = &specs.Hooks{}
		}
		hook := specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout}
		switch h.Name {
		case "prestart":
			//lint:ignore SA1019 there are files that still have it
			in.hooks.Prestart = append(in.hooks.Prestart, hook)
		case "createRuntime":
			in.hooks.CreateRuntime = append(in.hooks.CreateRuntime, hook)
		case "createContainer":
			in.hooks.CreateContainer = append(in.hooks.CreateContainer, hook)
		case "startContainer":
			in.hooks.StartContainer = append(in.hooks.StartContainer, hook)
		case "poststart":
			in.hooks.Poststart = append(in.hooks.Poststart, hook)
		case "poststop":
			in.hooks.Poststop = append(in.hooks.Poststop, hook)
		}
	}
	return nil
}
