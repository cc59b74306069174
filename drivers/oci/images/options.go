package images

import (
	"log/slog"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// Options are what a node says about its images. Zero values mean the defaults.
type Options struct {
	MaxAge     time.Duration // an image that no task used for so long is removed; 0: 7 days
	MaxBytes   structs.Bytes // of images that no task uses; the least recently used go first; 0: 50 GiB
	MaxImage   structs.Bytes // of one unpacked layer; 0: 20 GiB
	Registries map[string]registry.Host
	Stall      time.Duration // after which a transfer without a byte is cut and resumed; 0: 30 s
	Logger     *slog.Logger

	// step is called before each change of the disk. From its first error on the store changes nothing any more, as if its
	// process had been killed. Tests set it.
	step func(what string) error
}

// Image is one that is complete on this node. Layers stay as long as a task holds it.
type Image struct {
	ID     string // sha256:…, of its config
	Digest string // sha256:…, of the manifest it was pulled by; empty for one of an archive
	Config v1.Config
	Layers []string // unpacked, on the host, lowest first
}
