package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"math"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// building is a task while it is made of what a framework says of it.
type building struct {
	task  *structs.Task
	says  *wire.CommandInfo      // what it runs
	role  string                 // of what it is launched in
	pod   *wire.ContainerInfo    // of the executor whose pod it is one of, which may say nothing; nil: of none
	own   []ownVolume            // volume blocks of that executor
	group *structs.Group         // that it is the task of; nil: it is one of several, or an executor
	ports []structs.AssignedPort // that it was given; they are told where they lead

	outsides []outsideVolume // of storage plugins, that it sees

	secrets []*structs.SentSecret // values that came with it, in clear
	made    int                   // secrets so far
	folders map[string]int        // numbers of the folders with their files, by where they are seen
}

// contained has a task run in the container that its framework describes: with an image of the type MESOS by the oci driver, of the
// type DOCKER by the docker driver. What the drivers do not have is refused, and never left out.
func (b *building) contained(c *wire.ContainerInfo) error {
	if err := b.image(c); err != nil {
		return err
	}
	if c == nil || c.Type != wire.ContainerDocker {
		if err := b.network(c); err != nil {
			return err
		}
	}
	if err := b.volumes(c); err != nil {
		return err
	}
	return b.confined(c)
}

// image has a driver for images run the task when its container has one, and another one what its command says.
func (b *building) image(c *wire.ContainerInfo) error {
	task := b.task
	var image string
	config := map[string]any{}
	switch {
	case c == nil:
		return b.runs(nil)
	case c.Type == wire.ContainerMesos && c.Docker != nil:
		return errors.New("'ContainerInfo.docker' is for the type DOCKER")
	case c.Type == wire.ContainerMesos && (c.Mesos == nil || c.Mesos.Image == nil):
		return b.runs(nil)
	case c.Type == wire.ContainerMesos:
		i := c.Mesos.Image
		if i.Type != wire.ImageDocker || i.Docker == nil {
			return errors.New("Only images of the type DOCKER are served")
		}
		task.Driver, image = "oci", i.Docker.Name
		if err := b.imageSecret(i.Docker, ""); err != nil {
			return err
		}
		if i.Cached != nil && !*i.Cached {
			config["force_pull"] = true
		}
	case c.Type == wire.ContainerDocker && c.Docker != nil:
		task.Driver, image = "docker", c.Docker.Image
		if err := b.docker(c, config); err != nil {
			return err
		}
		if c.Hostname != nil {
			config["hostname"] = literal(*c.Hostname)
		}
	default:
		return errors.New("ContainerInfo says nothing of its type")
	}
	config["image"], task.Config = literal(image), config
	return b.runs(config)
}

var errNoTerminal = errors.New("'ContainerInfo.tty_info' is served for tasks whose container is of the type MESOS, and for nothing else")

// terminalOf returns the terminal that a task runs on; nil: none.
func terminalOf(c *wire.ContainerInfo) *structs.Terminal {
	if c == nil || c.TTY == nil {
		return nil
	}
	t := &structs.Terminal{Rows: 24, Cols: 80}
	if size := c.TTY.WindowSize; size != nil && size.Rows > 0 && size.Columns > 0 {
		t.Rows, t.Cols = uint16(min(size.Rows, math.MaxInt16)), uint16(min(size.Columns, math.MaxInt16))
	}
	return t
}

func isTrue(b *bool) bool { return b != nil && *b }
