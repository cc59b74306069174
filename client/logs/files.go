package logs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// file is one file of a stream: it begins at the global offset base.
type file struct {
	path string
	base int64
}

// list returns the files of a stream, oldest first. A folder that does not exist has none.
func list(dir, prefix string) ([]file, error) {
	d, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || base < 0 || strconv.FormatInt(base, 10) != digits {
			continue // of another stream, or not ours
		}
		files = append(files, file{filepath.Join(dir, name), base})
	}
	slices.SortFunc(files, func(a, b file) int {
		if a.base < b.base {
			return -1
		}
		return 1
	})
	return files, nil
}

func prefixOf(task string, stream Stream) string { return task + "." + string(stream) + "." }

// inTask is between the names of a task and of a command in it: no name has it.
const inTask = "~"

// OfCommand is the name under which the streams of a command in a task are kept, beside those of the task itself.
func OfCommand(task, command string) string { return task + inTask + command }

// Remove removes both streams of a task, which nobody writes any more.
func Remove(dir, task string) (err error) {
	for _, stream := range []Stream{Stdout, Stderr} {
		files, failed := list(dir, prefixOf(task, stream))
		err = errors.Join(err, failed)
		for _, f := range files {
			if failed := os.Remove(f.path); !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
	}
	return err
}
