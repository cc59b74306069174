package client

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/structs"
)

// maxLinks is how many links a path may lead over, as the kernel bounds it.
const maxLinks = 40

// resolve follows the links of a path below an allocation's folder, and returns where it leads, of which no part is a link; last: also a
// link at its end. Links of a task are meant as the task sees its folders: /local, /secrets and /alloc are those of the task whose folder
// they are in. What is not there at the end is no error.
//
// It is for what a link leads to by mistake: a task that wants its own secrets read can copy them.
func resolve(root *os.Root, name string, last bool) (string, error) {
	var done []string
	rest, links := strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(done) == 0 {
				return "", leadsOut(name)
			}
			done = done[:len(done)-1]
			continue
		}
		at := path.Join(path.Join(done...), part)
		info, err := root.Lstat(at)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 && (last || len(rest) > 0) {
			if links++; links > maxLinks {
				return "", fileError(name, &fs.PathError{Op: "follow", Path: name, Err: syscall.ELOOP})
			}
			target, err := root.Readlink(at)
			if err != nil {
				return "", fileError(name, err)
			}
			if path.IsAbs(target) {
				top := part
				if len(done) > 0 {
					top = done[0]
				}
				if target = asSeen(top, path.Clean(target)); target == "" {
					return "", leadsOut(name)
				}
				done = nil
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if err != nil && (len(rest) > 0 || !os.IsNotExist(err)) {
			return "", fileError(name, err)
		}
		done = append(done, part)
	}
	return path.Join(".", path.Join(done...)), nil
}

// asSeen says where in the allocation's folder a path is that a task sees; empty: nowhere. Top is the first folder of what says so.
func asSeen(top, target string) string {
	first, rest, _ := strings.Cut(target[1:], "/")
	switch {
	case first == taskdir.Shared:
		return path.Join(taskdir.Shared, rest)
	case top != taskdir.Shared && top != taskdir.Logs && (first == "local" || first == "secrets"):
		return path.Join(top, first, rest)
	}
	return ""
}

func leadsOut(name string) error {
	return structs.Errorf(structs.Forbidden, name, "it leads out of the allocation's folder")
}
