// Package fetch gets what tasks are given from elsewhere, and keeps it in a cache of the node. See DESIGN.md.
package fetch

import (
	"log/slog"
	"time"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// Options are what a node says about what it fetches. Zero values mean the defaults.
type Options struct {
	Dir         string                   // of the cache; made when missing, mode 0700
	Size        structs.Bytes            // of the cache; what was used least recently goes first; 0: 10 GiB
	MaxSize     structs.Bytes            // of one file as it arrives; 0: 10 GiB
	MaxUnpacked structs.Bytes            // of one archive, unpacked; 0: 50 GiB
	Parallel    int                      // transfers at the same time; 0: 4
	Timeout     time.Duration            // of one transfer; 0: 1 h
	Stall       time.Duration            // after which a transfer without a byte is cut and resumed; 0: 30 s
	Folders     []string                 // of the node, for file:// and git+file://; none: these are refused
	Stores      []Store                  // for s3://
	Registries  map[string]registry.Host // for oci://, by name
	Boot        string                   // names this boot of the machine
	Logger      *slog.Logger
}

// Store is how to reach objects of s3://BUCKET/…. The first one whose Bucket fits is used.
type Store struct {
	Bucket    string // empty: all
	Endpoint  string // such as http://127.0.0.1:9000; empty: that of Amazon in the region
	Region    string // empty: us-east-1
	AccessKey string // empty: requests are not signed
	SecretKey string
	Token     string // of a session; may be empty
}

func (o *Options) fill() {
	setDefault(&o.Size, 10<<30)
	setDefault(&o.MaxSize, 10<<30)
	setDefault(&o.MaxUnpacked, 50<<30)
	setDefault(&o.Parallel, 4)
	setDefault(&o.Timeout, time.Hour)
	setDefault(&o.Stall, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Want is one thing to fetch. References are resolved.
type Want struct {
	Source   string
	Ref      string // of a git repository
	Checksum string // empty: whatever comes
	Headers  map[string]string
	Say      func(text string) // told of progress, at most once a second; may be nil
}
