package runner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// folders remembers how much the folders of an allocation's tasks hold.
type folders struct {
	mu    sync.Mutex
	sizes map[string]folder
}

type folder struct {
	size structs.Bytes
	at   time.Time
}

// Bounds of a measurement: how old one may be, and how many files are looked at. A folder with more counts as those.
const (
	folderAge  = time.Minute
	folderMost = 20_000
)

var errEnough = errors.New("enough")

// size is how much a folder holds, as it was within the last minute.
func (f *folders) size(ctx context.Context, name, dir string) structs.Bytes {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.sizes[name]; ok && time.Since(known.at) < folderAge {
		return known.size
	}
	var sum structs.Bytes
	n := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n++; n > folderMost || ctx.Err() != nil {
			return errEnough
		}
		if err != nil {
			return nil // it went meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode()&(os.ModeDir|os.ModeDevice|os.ModeSocket|os.ModeNamedPipe) == 0 {
			sum += used(info)
		}
		return nil
	})
	if f.sizes == nil {
		f.sizes = map[string]folder{}
	}
	f.sizes[name] = folder{sum, time.Now()}
	return sum
}

// Stats says what each running task uses.
func (a *Alloc) Stats(ctx context.Context) (map[string]*drivers.Stats, error) {
	out, err := a.Light(ctx)
	if err != nil {
		return nil, err
	}
	for name, s := range out {
		s.Disk = a.folders.size(ctx, name, a.dir.Task(name))
		a.mu.Lock()
		devices := a.task(name).rec.State.Devices
		a.mu.Unlock()
		if len(devices) == 0 || a.node.GPUs == nil {
			continue
		}
		usage := a.node.GPUs(ctx)
		for _, d := range devices {
			if u := usage[d.ID]; u != nil {
				s.GPUs = append(s.GPUs, u)
			}
		}
	}
	return out, nil
}
