// Package disk bounds what folders on a node may hold: by project quota where the file system has it, so that a write fails which would
// take more, and else by measuring, so that whoever took more is stopped. See DESIGN.md.
package disk

import (
	"errors"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Mode is how folders are bounded.
type Mode string

const (
	Auto     Mode = "auto"     // by quota where there is one, else measured
	Quota    Mode = "quota"    // by the file system
	Measured Mode = "measured" // by whoever looks at them from time to time
	Off      Mode = "off"      // they are not
)

// Projects that folders get: far above what people and other programs count from.
const (
	firstProject = 1_500_000_000
	projects     = 1 << 20
)

// perFile is how much of a bound allows one more file, and someFiles are allowed anyway: files cost the file system even when they
// are empty.
const (
	perFile   = 4 << 10
	someFiles = 1024
)

// Limits bounds folders of one file system. Its methods may be called from any goroutine.
type Limits struct {
	mode Mode
	why  string // there is no quota
	top  *os.File
	log  *slog.Logger

	named map[uint32]bool // projects that the host's configuration knows

	mu     sync.Mutex
	taking map[uint32]bool // projects that look free until their folders count for them
}

// Open finds out how folders below a folder can be bounded. Unavailable: mode asks for a quota, and there is none.
func Open(dir string, mode Mode, log *slog.Logger) (*Limits, error) {
	l := &Limits{mode: mode, log: log, taking: map[uint32]bool{}}
	if mode != Auto && mode != Quota {
		return l, nil
	}
	top, err := os.Open(dir)
	if err == nil {
		if l.why = noQuota(top); l.why == "" {
			l.mode, l.top, l.named = Quota, top, namedProjects("/etc/projects", "/etc/projid")
			l.clearStale()
			return l, nil
		}
		err = errors.Join(errors.New(l.why), top.Close())
	}
	if mode == Quota {
		return nil, structs.Errorf(structs.Unavailable, "client.disk_limit", "%s has no project quota: %w", dir, err).
			Advise("use ext4 made with -O quota,project and mounted with prjquota, or xfs mounted with prjquota; or another disk_limit")
	}
	l.mode = Measured
	return l, nil
}

// Mode says which one holds: Quota, Measured or Off.
func (l *Limits) Mode() Mode { return l.mode }

// Attributes are what the node says of it.
func (l *Limits) Attributes() map[string]string {
	out := map[string]string{"disk.limit": string(l.mode)}
	if l.why != "" {
		out["disk.limit.missing"] = l.why
	}
	return out
}

// Close lets go of the folder. Bounds stay.
func (l *Limits) Close() error {
	if l.top == nil {
		return nil
	}
	return l.top.Close()
}

// Bound bounds a folder that is there, by quota, and returns its project, which it keeps until Release. What it holds already counts.
// name is anything that no other folder has. What is written to the folder before that returns may not count. The errors are those of the disk.
func (l *Limits) Bound(dir, name string, limit structs.Bytes) (project uint32, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if project, err = drivers.Project(f); err != nil {
		return 0, err
	}
	if !ours(project) {
		if project, err = l.take(name); err != nil {
			return 0, err
		}
		defer l.taken(project)
		if err := adopt(root, ".", of(project)); err != nil {
			return 0, err
		}
		if err := drivers.SetProject(f, project, true); err != nil { // last: a folder that has one is done
			return 0, err
		}
	}
	return project, setLimit(l.top, project, limit, int64(limit)/perFile+someFiles)
}

// Project returns what a folder has from Bound; 0: nothing.
func (l *Limits) Project(dir string) uint32 {
	if l == nil || l.mode != Quota {
		return 0
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	if project, err := drivers.Project(f); err == nil && ours(project) {
		return project
	}
	return 0
}

// Used is what all files of a project take.
func (l *Limits) Used(project uint32) (structs.Bytes, error) {
	u, err := usageOf(l.top, project)
	return u.space, err
}

// Release takes the bound away whose folder was removed. The project is free once nothing is left in it.
func (l *Limits) Release(project uint32) {
	if l == nil || l.mode != Quota || !ours(project) {
		return
	}
	if err := setLimit(l.top, project, 0, 0); err != nil {
		l.log.Warn("the quota of a removed folder stays", "project", project, "err", err)
	}
}

func ours(project uint32) bool { return project >= firstProject && project < firstProject+projects }

// take finds a project that nobody has: no file is of it and nothing bounds it. It begins where the name says, so that two nodes on one
// file system hardly look at the same. Nobody else finds it until taken.
func (l *Limits) take(name string) (uint32, error) {
	h := fnv.New32a()
	h.Write([]byte(name))
	l.mu.Lock()
	defer l.mu.Unlock()
	for try := range uint32(1000) {
		project := firstProject + (h.Sum32()+try)%projects
		if l.named[project] || l.taking[project] {
			continue
		}
		u, err := usageOf(l.top, project)
		if err != nil {
			return 0, err
		}
		if u == (usage{}) {
			l.taking[project] = true
			return project, nil
		}
	}
	return 0, structs.Errorf(structs.Exhausted, "disk quota", "no project is free")
}

// taken says that a project's folder counts for it, or never will.
func (l *Limits) taken(project uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.taking, project)
}

// clearStale takes the bounds of projects away whose folders an agent removed that was killed before it could do so.
func (l *Limits) clearStale() {
	project := uint32(firstProject)
	for range projects {
		next, u, err := nextUsage(l.top, project)
		if err != nil || !ours(next) {
			return
		}
		if u.space == 0 && u.files == 0 && !l.named[next] {
			l.Release(next)
		}
		project = next + 1
	}
}

// of gives a file a project.
func of(project uint32) func(f *os.File, folder bool) error {
	return func(f *os.File, folder bool) error {
		if has, err := drivers.Project(f); err != nil || has == project {
			return err
		}
		return drivers.SetProject(f, project, folder)
	}
}

// adopt makes what is in a folder already count for its project. Links are not followed, and what goes meanwhile, or becomes something else,
// is left: tasks that share a volume may write to it.
func adopt(root *os.Root, folder string, set func(f *os.File, folder bool) error) error {
	f, err := root.OpenFile(folder, os.O_RDONLY|onlyFolder, 0)
	if err != nil {
		return unlessGone(root, folder, err)
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return unlessGone(root, folder, err)
	}
	for _, e := range entries {
		if !e.IsDir() && !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(folder, e.Name())
		if err := adoptOne(root, path, set); err != nil {
			return err
		}
		if e.IsDir() {
			if err := adopt(root, path, set); err != nil {
				return err
			}
		}
	}
	return nil
}

func adoptOne(root *os.Root, path string, set func(f *os.File, folder bool) error) error {
	f, err := root.OpenFile(path, os.O_RDONLY|noWait, 0)
	if err != nil {
		return unlessGone(root, path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return err
	}
	return set(f, info.IsDir())
}

// unlessGone takes what cannot be opened for nothing when it is not there any more, or is neither a file nor a folder now.
func unlessGone(root *os.Root, path string, err error) error {
	if info, lost := root.Lstat(path); lost != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	return err
}

// namedProjects reads the projects that files such as /etc/projects (number:folder) and /etc/projid (name:number) know.
func namedProjects(paths ...string) map[uint32]bool {
	out := map[uint32]bool{}
	for _, path := range paths {
		raw, _ := os.ReadFile(path) // most hosts have none
		for line := range strings.Lines(string(raw)) {
			for _, field := range strings.Split(strings.TrimSpace(line), ":") {
				if n, err := strconv.ParseUint(field, 10, 32); err == nil {
					out[uint32(n)] = true
				}
			}
		}
	}
	return out
}
