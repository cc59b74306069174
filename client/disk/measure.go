package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/structs"
)

// Bounds of a measurement. What is deeper, or more, is not counted.
const (
	mostDepth   = 200
	mostEntries = 10_000_000
	atOnce      = 256 // entries of a folder that are in memory at a time
)

// Pace is how measuring yields: it rests nineteen times as long as it works.
type Pace struct{ begun time.Time }

const restFactor = 19

// rest waits, once there was something to rest from.
func (p *Pace) rest(ctx context.Context) error {
	worked := time.Since(p.begun)
	if worked >= time.Millisecond {
		timer := time.NewTimer(min(worked*restFactor, time.Second))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.begun = time.Now()
	return ctx.Err()
}

// Sizes says what the folders and files in a folder take of the disk, each with what is below it. A folder that is not there takes nothing. What
// is written meanwhile counts or not; what was removed and is still open does not. It takes a twentieth of a core.
func Sizes(ctx context.Context, dir string) (sum structs.Bytes, by map[string]structs.Bytes, err error) {
	root, err := os.OpenRoot(dir)
	by = map[string]structs.Bytes{}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, by, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer root.Close()
	w := &walk{ctx: ctx, root: root, pace: Pace{time.Now()}, twice: map[uint64]bool{}}
	err = w.folder(".", 0, func(name string, size structs.Bytes) {
		sum += size
		by[name] += size
	})
	return sum, by, err
}

type walk struct {
	ctx     context.Context
	root    *os.Root
	pace    Pace
	entries int
	twice   map[uint64]bool // files with several names that were seen
}

// folder calls add for what is in a folder.
func (w *walk) folder(path string, depth int, add func(name string, size structs.Bytes)) error {
	info, err := w.root.Lstat(path)
	if err != nil || !info.IsDir() { // it went, or became something else: opening that might wait for somebody
		return w.ctx.Err()
	}
	f, err := w.root.OpenFile(path, os.O_RDONLY|onlyFolder, 0)
	if err != nil {
		return w.ctx.Err()
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(atOnce)
		for _, e := range list {
			info, err := e.Info()
			if err != nil {
				continue
			}
			if w.entries++; w.entries > mostEntries {
				return nil
			}
			size := w.of(info)
			if e.IsDir() && depth < mostDepth {
				if err := w.folder(filepath.Join(path, e.Name()), depth+1, func(_ string, below structs.Bytes) { size += below }); err != nil {
					return err
				}
			}
			add(e.Name(), size)
		}
		if err := w.pace.rest(w.ctx); err != nil {
			return err
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
				return nil // what cannot be read is the host's
			}
			return nil
		}
	}
}
