package command

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func volumeCreate(e *Environment) *command {
	c := newCommand(e, "volume create", "NAME", "Make a volume").remote()
	c.about = "Make a volume: a folder on the disk of a node that outlives the work which uses it. It is on the node that is named, or,\n" +
		"without one, where the first work that uses it goes; work that uses it goes there from then on. With -plugin it is a volume\n" +
		"of a storage plugin instead, and is attached to each node where work goes that uses it."
	c.min, c.max = 1, 1
	size := c.flags.String("size", "", "`SIZE` that it takes of the disk, such as 10GiB; needed, except with -external")
	node := c.flags.String("node", "", "the `NODE` that it is on")
	disk := c.flags.String("disk", "", "the `DISK` of the node that it is on, as the configuration of the node names it; without one that of the data folder")
	role := c.flags.String("role", structs.DefaultRole, "the `ROLE` whose work may use it, with that of the roles below")
	access := c.flags.String("access", string(structs.AccessExclusive), "`WHO` may use it at the same time: exclusive (one allocation), single_writer (one that writes, any that read) or shared (any)")
	plugin := c.flags.String("plugin", "", "the storage plugin, by the `ID` of its csi_plugin, that makes the volume")
	external := c.flags.String("external", "", "what the storage calls a volume that is there already, an `ID`: it is used and not made, and not removed with the volume")
	block := c.flags.Bool("block", false, "tasks see the volume of the plugin as a block device, and not its files")
	fs := c.flags.String("fs-type", "", "the file `SYSTEM` that the plugin makes on it; without it, as the plugin likes")
	secrets := c.flags.String("secrets", "", "a `FILE` with a NAME=VALUE on each line, for the plugin; nobody is shown them")
	var labels, parameters, volumeContext, mountFlags listFlag
	c.flags.Var(&parameters, "parameter", "what the plugin makes it with, `NAME=VALUE`; may be repeated")
	c.flags.Var(&volumeContext, "volume-context", "what the plugin is to know of an -external one, `NAME=VALUE`; may be repeated")
	c.flags.Var(&mountFlags, "mount-flag", "a `FLAG` it is mounted with by the plugin; may be repeated")
	c.flags.Var(&labels, "label", "a label, `NAME=VALUE`; may be repeated")
	c.run = func(ctx context.Context, args []string) error {
		v := &api.NewVolume{Volume: structs.Volume{Name: args[0], Disk: *disk, Role: *role, Access: structs.VolumeAccess(*access)}}
		var err error
		if *size != "" || *external == "" {
			if v.Size, err = structs.ParseBytes(*size); err != nil {
				return usagef("-size: %s", err)
			}
		}
		if v.Labels, err = namesAndValues("label", labels); err != nil {
			return err
		}
		if *plugin != "" {
			v.CSI = &structs.CSIVolume{Plugin: *plugin, External: *external, Block: *block, FSType: *fs, MountFlags: mountFlags}
			if v.CSI.Parameters, err = namesAndValues("parameter", parameters); err != nil {
				return err
			}
			if v.CSI.Context, err = namesAndValues("volume-context", volumeContext); err != nil {
				return err
			}
			if v.Secrets, err = readSecrets(*secrets); err != nil {
				return err
			}
		} else if *external+*fs+*secrets != "" || *block || len(parameters)+len(volumeContext)+len(mountFlags) > 0 {
			return usagef("-external, -block, -fs-type, -secrets, -parameter, -volume-context and -mount-flag are for volumes of a plugin: name it with -plugin")
		}
		if err := v.Problems().Err(); err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		where := "where the first work that uses it goes"
		if *node != "" {
			id, err := nodeID(ctx, client, *node)
			if err != nil {
				return err
			}
			v.Node, where = structs.NodeID(id), "on node "+*node
		}
		is := "is made"
		switch {
		case *external != "":
			is, where = "is registered", "as "+*external+" of plugin "+*plugin
		case v.CSI != nil:
			is, where = "is being made", "by plugin "+*plugin
		}
		if v.Size > 0 {
			is += ": " + v.Size.Human() + ","
		} else {
			is += ":"
		}
		if _, err := client.CreateVolume(ctx, v); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Volume %q %s %s, %s.%s\n", v.Name, is, v.Access, where, checked(ctx, client, v.Name))
		return err
	}
	return c
}

// checkTime is how long somebody who registers a volume waits to hear whether its storage has it.
const checkTime = 5 * time.Second

// checked says what a plugin said of a volume that was registered, as far as that is known soon.
func checked(ctx context.Context, client *api.Client, name string) string {
	by, query := time.Now().Add(checkTime), &api.Query{}
	for {
		v, meta, err := client.Volume(ctx, name, query)
		switch {
		case err != nil || v.CSI == nil || !v.CSI.Unchecked: // it may not be looked at, or there is nothing to say
			return ""
		case v.CSI.Error != "":
			return fmt.Sprintf("\nIts plugin is asked for it until it has it; so far: %s", clean(v.CSI.Error))
		case !time.Now().Before(by):
			return fmt.Sprintf("\nIts plugin has not said yet that it has it: volume status %s shows when it did.", name)
		}
		query = &api.Query{Index: meta.Index, Wait: max(time.Until(by), time.Millisecond)}
	}
}

// namesAndValues reads what a flag that is NAME=VALUE was given; nil: nothing.
func namesAndValues(flag string, texts []string) (out map[string]string, err error) {
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("-%s: %q is not NAME=VALUE", flag, text)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}

// readSecrets reads a file with a NAME=VALUE on each line. Errors show no value.
func readSecrets(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "-secrets", "%w", err)
	}
	out := map[string]string{}
	number := 0
	for line := range strings.Lines(string(raw)) {
		number++
		if line = strings.TrimRight(line, "\r\n"); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, structs.Errorf(structs.Invalid, "-secrets", "line %d of %s is not NAME=VALUE", number, path)
		}
		out[name] = value
	}
	return out, nil
}
