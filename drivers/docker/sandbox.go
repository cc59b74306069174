package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// An engine lets a container join the network of another one, and of nothing else. So an allocation with a network of its own has one
// container more: it does nothing, and its network namespace is the allocation's.

// sandboxID is that of this container among those of tasks, of which none has a start 0.
func sandboxID(alloc structs.AllocID) string { return string(alloc) + "/network/0" }

// Sandbox makes the container of an allocation's network, or finds it.
func (d *Driver) Sandbox(ctx context.Context, s drivers.Sandbox) (path string, err error) {
	object := "network of allocation " + structs.Short(s.Alloc)
	if !strings.HasPrefix(d.opts.Endpoint, "unix://") {
		return "", structs.Errorf(structs.Unavailable, object, "the engine is at %s, perhaps on another machine: its containers cannot be connected with this one's network",
			d.opts.Endpoint)
	}
	id := sandboxID(s.Alloc)
	end, err := d.sandboxes.Take(ctx, string(s.Alloc))
	if err != nil {
		return "", structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	defer end()
	if path, err = d.sandboxOf(ctx, object, id); err == nil || structs.KindOf(err) != structs.NotFound {
		return path, err
	}
	if err := d.unsandbox(ctx, s.Alloc); err != nil { // one that ended with its engine
		return "", err
	}
	image, err := d.pauseImage(ctx)
	if err != nil {
		return "", err
	}
	o := client.ContainerCreateOptions{Name: nameOf(id),
		Config: &container.Config{Image: image, Hostname: s.Hostname, User: "65534:65534",
			Labels: map[string]string{labelOwner: d.opts.Owner, labelTask: id, labelAlloc: string(s.Alloc), labelJob: s.Job, labelGroup: s.Group}},
		HostConfig: &container.HostConfig{NetworkMode: "none", CapDrop: []string{"ALL"}, ReadonlyRootfs: true, SecurityOpt: []string{"no-new-privileges"},
			LogConfig: container.LogConfig{Type: "none"}}} // no limit of processes: what runs has no code to make one, see drivers.MinPids
	err = d.engine.act(ctx, object, "create its container", func(ctx context.Context, api *client.Client) error {
		_, err := api.ContainerCreate(ctx, o)
		return err
	})
	if err == nil || structs.KindOf(err) == structs.Conflict {
		err = d.engine.act(ctx, object, "start its container", func(ctx context.Context, api *client.Client) error {
			_, err := api.ContainerStart(ctx, nameOf(id), client.ContainerStartOptions{})
			return err
		})
	}
	if err != nil { // whatever happened, the next try finds it
		return "", structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	return d.sandboxOf(ctx, object, id)
}

// sandboxOf returns the path of the namespace of a container that runs; NotFound: it does not.
func (d *Driver) sandboxOf(ctx context.Context, object, id string) (string, error) {
	var found client.ContainerInspectResult
	err := d.engine.look(ctx, object, "look for its container", func(ctx context.Context, api *client.Client) (err error) {
		found, err = api.ContainerInspect(ctx, nameOf(id), client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return "", err
	}
	c := &found.Container
	if c.Config == nil || c.Config.Labels[labelTask] != id {
		return "", structs.Errorf(structs.Unavailable, object, "the container %s is not its own", nameOf(id))
	}
	if c.State == nil || !c.State.Running || c.State.Pid <= 0 || cutOff(c.State) {
		return "", structs.Errorf(structs.NotFound, object, "its container does not run")
	}
	return fmt.Sprintf("/proc/%d/ns/net", c.State.Pid), nil
}

// Unsandbox removes what Sandbox made.
func (d *Driver) Unsandbox(ctx context.Context, alloc structs.AllocID) error {
	end, err := d.sandboxes.Take(ctx, string(alloc))
	if err != nil {
		return err
	}
	defer end()
	return d.unsandbox(ctx, alloc)
}

// unsandboxUnknown does it unless the allocation is known now: it may have come, and use what an agent left that was killed.
func (d *Driver) unsandboxUnknown(ctx context.Context, alloc structs.AllocID, known func(id string) bool) error {
	end, err := d.sandboxes.Take(ctx, string(alloc))
	if err != nil {
		return err
	}
	defer end()
	if known(string(alloc)) {
		return nil
	}
	d.log.Info("removing the network container of an allocation that the node does not know", "alloc", alloc)
	return d.unsandbox(ctx, alloc)
}

func (d *Driver) unsandbox(ctx context.Context, alloc structs.AllocID) error {
	id := sandboxID(alloc)
	t := &task{d: d, id: nameOf(id), spec: id}
	return t.remove(ctx, true)
}

// joins returns the container whose network a task joins. Invalid: the engine ended it, and what it had of the network with it.
func (d *Driver) joins(ctx context.Context, spec *drivers.Spec) (string, error) {
	id := sandboxID(spec.Alloc)
	path, err := d.sandboxOf(ctx, "task "+spec.ID, id)
	if err != nil && structs.KindOf(err) != structs.NotFound {
		return "", err
	}
	var have, want os.FileInfo
	if err == nil {
		have, err = os.Stat(path)
	}
	if err == nil {
		want, err = os.Stat(spec.Netns)
	}
	if err != nil || !os.SameFile(have, want) {
		return "", structs.Errorf(structs.Invalid, "task "+spec.ID, "the engine was started anew, and the network of the allocation ended with it").
			Advise("let the engine keep containers (live-restore)")
	}
	return nameOf(id), nil
}

// own refuses what a container cannot have that joins another one's network.
func (c *config) own(object string) error {
	for key, set := range map[string]bool{"ports": len(c.ports) > 0, "hostname": c.hostname != "", "dns": len(c.dns) > 0,
		"dns_search": len(c.dnsSearch) > 0, "network": len(c.further) > 0, "extra_hosts": len(c.extraHosts) > 0, "network_aliases": len(c.aliases) > 0,
		"ipv4_address": c.ipv4 != "", "ipv6_address": c.ipv6 != ""} {
		if set {
			return structs.Errorf(structs.Invalid, object+".config."+key, "the group's network says that for all its tasks").
				Advise("leave it out, or write it in the network block of the group")
		}
	}
	return nil
}

// pauseImage returns the name of the image of containers that do nothing, which is made here and given to the engine once.
func (d *Driver) pauseImage(ctx context.Context) (string, error) {
	archive, name, err := pauseArchive(runtime.GOARCH)
	if err != nil {
		return "", err
	}
	if _, err := d.images.find(ctx, name); structs.KindOf(err) != structs.NotFound {
		return name, err
	}
	err = d.engine.act(ctx, "image "+name, "load it", func(ctx context.Context, api *client.Client) error {
		r, err := api.ImageLoad(ctx, bytes.NewReader(archive), client.ImageLoadWithQuiet(true))
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		return "", structs.Errorf(structs.Unavailable, "image "+name, "%w", err)
	}
	return name, nil
}

// pauses are the instructions of a program that sleeps for ever, by architecture: pause() again and again, ppoll() without anything where
// there is no pause.
var pauses = map[string]struct {
	machine uint16
	code    []byte
}{
	"amd64": {62, []byte{0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}},
	"arm64": {183, words(0xd2800000, 0xd2800001, 0xd2800002, 0xd2800003, 0xd2800928, 0xd4000001, 0x17fffffa)},
}

func words(all ...uint32) (b []byte) {
	for _, w := range all {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// pauseProgram is an ELF file with one segment: header, program header, code.
func pauseProgram(arch string) ([]byte, error) {
	p, ok := pauses[arch]
	if !ok {
		return nil, structs.Errorf(structs.Unavailable, "docker", "there is no pause program for %s", arch)
	}
	const base, headers = 0x400000, 64 + 56
	e := binary.LittleEndian
	b := append(make([]byte, 0, headers+64), 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = e.AppendUint16(e.AppendUint16(b, 2), p.machine)
	b = e.AppendUint32(b, 1)
	b = e.AppendUint64(e.AppendUint64(e.AppendUint64(b, base+headers), 64), 0)
	b = e.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = e.AppendUint16(b, v)
	}
	size := uint64(headers + len(p.code))
	b = e.AppendUint32(e.AppendUint32(b, 1), 5) // PT_LOAD, to read and to run
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		b = e.AppendUint64(b, v)
	}
	return append(b, p.code...), nil
}

// pauseArchive is the image as docker load takes it, and its name, which says what is in it.
func pauseArchive(arch string) (archive []byte, name string, err error) {
	program, err := pauseProgram(arch)
	if err != nil {
		return nil, "", err
	}
	pack := func(names []string, contents [][]byte, mode int64) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i, name := range names { // into memory: it cannot fail
			w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(contents[i])), Typeflag: tar.TypeReg})
			w.Write(contents[i])
		}
		w.Close()
		return b.Bytes()
	}
	layer := pack([]string{"pause"}, [][]byte{program}, 0o555)
	sum := sha256.Sum256(layer)
	name = "proffer-pause:" + hex.EncodeToString(sum[:6])
	config, err := json.Marshal(map[string]any{"architecture": arch, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}}})
	if err != nil {
		return nil, "", err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, "", err
	}
	return pack([]string{"config.json", "layer.tar", "manifest.json"}, [][]byte{config, layer, manifest}, 0o644), name, nil
}
