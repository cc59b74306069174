package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/structs"
)

// What tools call the sandbox of an executor is the folder in which its task works, with its output as the files stdout and stderr. Of an
// allocation with several tasks it is the folder that they share, and below tasks/ each has its own. The path of one is made up: no folder
// of the node can be seen in it, and nothing but folders of allocations can be asked for by it.

// maxPath bounds a path that is looked at, in bytes.
const maxPath = 4096

// latest stands for the newest allocation of an executor.
const latest = "latest"

// The files that a task's output is.
const stdout, stderr = string(logs.Stdout), string(logs.Stderr)

// tasksFolder is where those of tasks are, in the sandbox of several.
const tasksFolder = "tasks"

// directory is the path of the sandbox of an allocation.
func directory(a *structs.Allocation) string {
	return "/slaves/" + string(a.Node) + "/frameworks/" + string(a.Framework) + "/executors/" + executorOf(a) + "/runs/" + string(a.ID)
}

// executorOf is what tools on the node call the executor of an allocation: a command has one as well.
func executorOf(a *structs.Allocation) string {
	switch x := a.External; {
	case x == nil:
		return string(a.ID)
	case x.Executor != "":
		return x.Executor
	case len(x.Tasks) > 0:
		return x.Tasks[0].ID
	}
	return string(a.ID)
}

// several reports whether the sandbox of an allocation is shared by tasks that have their own.
func several(k *client.Known) bool {
	x := k.Alloc.External
	return len(k.Tasks) != 1 || x != nil && x.Executor != "" && !x.Custom
}

// place in a sandbox.
type sandboxPlace struct {
	of   *client.Known
	path string // as it was asked for
	task string // whose; empty: what tasks share
	rest string // below that folder; empty: itself
	all  bool   // the folder that has those of the tasks
}

// stream returns which output of its task the place is; empty: none.
func (p *sandboxPlace) stream() string {
	if p.task != "" && (p.rest == stdout || p.rest == stderr) {
		return p.rest
	}
	return ""
}

// name is where the place is in the folder of the allocation.
func (p *sandboxPlace) name() string {
	if p.task == "" {
		return path.Join("alloc", p.rest)
	}
	return path.Join(p.task, "local", p.rest)
}

func noFile(asked string) error {
	return mesos.Refuse(http.StatusNotFound, "No such file or directory: '%.300s'", asked)
}

// place finds what a path names.
func (c *Clients) place(asked string) (*sandboxPlace, error) {
	parts := strings.Split(strings.TrimPrefix(asked, "/"), "/")
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" || s == "." })
	switch {
	case asked == "":
		return nil, mesos.Refuse(http.StatusBadRequest, "Expecting 'path' to be present")
	case len(asked) > maxPath || strings.Contains(asked, "\x00"):
		return nil, mesos.Refuse(http.StatusBadRequest, "Invalid path")
	case slices.Contains(parts, ".."):
		return nil, mesos.Refuse(http.StatusBadRequest, "Invalid path '%.300s': it has '..'", asked)
	}
	if len(parts) > 2 && parts[0] == "slaves" && parts[1] == string(c.Client.Node().ID) {
		parts = parts[2:]
	}
	if len(parts) < 6 || parts[0] != "frameworks" || parts[2] != "executors" || parts[4] != "runs" {
		return nil, noFile(asked)
	}
	k, err := c.run(structs.FrameworkID(parts[1]), parts[3], parts[5])
	if err != nil {
		return nil, noFile(asked)
	}
	p := &sandboxPlace{of: k, path: asked}
	parts = parts[6:]
	switch {
	case !several(k):
		p.task = k.Tasks[0]
	case len(parts) > 0 && parts[0] == tasksFolder && len(parts) == 1:
		p.all = true
		return p, nil
	case len(parts) > 0 && parts[0] == tasksFolder:
		if p.task = taskNamed(k, parts[1]); p.task == "" {
			return nil, noFile(asked)
		}
		parts = parts[2:]
	}
	p.rest = path.Join(parts...)
	return p, nil
}

// run returns an allocation of an executor, or its newest.
func (c *Clients) run(framework structs.FrameworkID, executor, run string) (*client.Known, error) {
	is := func(k *client.Known) bool {
		return k.Alloc.Framework == framework && executorOf(k.Alloc) == executor
	}
	if run != latest {
		k, err := c.Client.Find(structs.AllocID(run))
		if err == nil && !is(&k) {
			err = errors.New("it is of another executor")
		}
		return &k, err
	}
	var newest *client.Known
	for _, k := range c.Client.Known(mostEnded) { // what the node holds, oldest first, and then what ended, newest first
		if is(&k) && (k.Ended == 0 || newest == nil) {
			newest = &k
		}
	}
	if newest == nil {
		return nil, errors.New("there is none")
	}
	return newest, nil
}

// taskNamed returns the name in its allocation of a task that the node runs; empty: there is none.
func taskNamed(k *client.Known, id string) string {
	if x := k.Alloc.External.Task(id); x != nil && slices.Contains(k.Tasks, x.Name) {
		return x.Name
	}
	if name := strings.TrimPrefix(id, string(k.Alloc.ID)+"."); slices.Contains(k.Tasks, name) { // see taskID
		return name
	}
	return ""
}

// list returns what is in a folder.
func (c *Clients) list(ctx context.Context, asked string) ([]wire.FileInfo, error) {
	p, err := c.place(asked)
	if err != nil {
		return nil, err
	}
	at := strings.TrimSuffix(asked, "/")
	names := owners{}
	var out []wire.FileInfo
	if p.all {
		for _, task := range slices.Sorted(slices.Values(p.of.Tasks)) {
			shown := task
			if x := p.of.Alloc.External.Named(task); x != nil {
				shown = x.ID
			}
			if f, err := c.Client.Stat(ctx, p.of.Alloc.ID, path.Join(task, "local")); err == nil {
				out = append(out, names.fileInfo(at+"/"+shown, &f))
			}
		}
		return out, nil
	}
	root := p.rest == ""
	files, err := c.Client.List(ctx, p.of.Alloc.ID, p.name())
	if err != nil && !(root && structs.KindOf(err) == structs.NotFound) { // the folder comes with the first start
		return nil, fileRefusal(asked, err)
	}
	if root && p.task != "" {
		for _, stream := range []string{stdout, stderr} {
			f, err := c.streamInfo(p, stream)
			if err != nil {
				return nil, fileRefusal(asked, err)
			}
			if f != nil {
				out = append(out, names.fileInfo(at+"/"+stream, f))
			}
		}
		files = slices.DeleteFunc(files, func(f client.File) bool { return f.Name == stdout || f.Name == stderr })
	}
	for i := range files {
		out = append(out, names.fileInfo(at+"/"+files[i].Name, &files[i]))
	}
	if root && p.task == "" {
		if f, err := c.Client.Stat(ctx, p.of.Alloc.ID, "."); err == nil {
			out = slices.DeleteFunc(out, func(f wire.FileInfo) bool { return f.Path == at+"/"+tasksFolder })
			out = append(out, names.fileInfo(at+"/"+tasksFolder, &f))
		}
	}
	slices.SortFunc(out, func(a, b wire.FileInfo) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// streamInfo describes the output of a task as a file; nil: there is none yet.
func (c *Clients) streamInfo(p *sandboxPlace, stream string) (*client.File, error) {
	o, err := c.Client.Output(p.of.Alloc.ID, p.task, stream)
	if err != nil || o.Changed == 0 {
		return nil, err
	}
	return &client.File{Name: stream, Size: structs.Bytes(o.End), Mode: 0o644, Changed: o.Changed, Links: 1}, nil
}

// mostRead bounds what is read at once.
const mostRead = 64 << 10

// read returns some of a file: from where it really is, and how large the file is. A negative offset asks for the size alone.
func (c *Clients) read(ctx context.Context, asked string, offset int64, length int) (from, size int64, data []byte, err error) {
	p, err := c.place(asked)
	if err != nil {
		return 0, 0, nil, err
	}
	if p.all {
		return 0, 0, nil, mesos.Refuse(http.StatusBadRequest, "Cannot read a directory")
	}
	ask := length
	if offset < 0 {
		ask = 0
	}
	data = make([]byte, min(ask, mostRead))
	if stream := p.stream(); stream != "" {
		from, n, of, err := c.Client.ReadOutput(p.of.Alloc.ID, p.task, stream, max(offset, 0), data)
		if err != nil {
			return 0, 0, nil, fileRefusal(asked, err)
		}
		return from, of.End, data[:n], nil
	}
	f, err := c.Client.Stat(ctx, p.of.Alloc.ID, p.name())
	if err != nil {
		return 0, 0, nil, fileRefusal(asked, err)
	}
	size = int64(f.Size)
	into := &filled{to: data}
	switch {
	case f.Mode&fs.ModeSymlink != 0: // it leads nowhere, or where nobody may go: reading says which
		return 0, 0, nil, fileRefusal(asked, cmp.Or(c.Client.ReadFile(ctx, p.of.Alloc.ID, p.name(), 0, 1, into), errors.New("it changed")))
	case !f.Mode.IsRegular():
		return 0, 0, nil, mesos.Refuse(http.StatusBadRequest, "Cannot read what is no regular file")
	case len(data) == 0 || offset >= size:
		return offset, size, nil, nil
	}
	if err := c.Client.ReadFile(ctx, p.of.Alloc.ID, p.name(), offset, int64(len(data)), into); err != nil {
		return 0, 0, nil, fileRefusal(asked, err)
	}
	return offset, max(size, offset+int64(into.n)), data[:into.n], nil
}

// filled is a writer into a piece of memory.
type filled struct {
	to []byte
	n  int
}

func (f *filled) Write(p []byte) (int, error) {
	n := copy(f.to[f.n:], p)
	f.n += n
	if n < len(p) {
		return n, errors.New("it is more than was asked for")
	}
	return n, nil
}

// fileRefusal is how an error of the node is answered. It names the path that was asked for, and none of the node.
func fileRefusal(asked string, err error) error {
	switch structs.KindOf(err) {
	case structs.NotFound:
		return noFile(asked)
	case structs.Forbidden:
		return mesos.Refuse(http.StatusForbidden, "'%.300s': %s", asked, structs.AsError(err).Why)
	case structs.Invalid:
		return mesos.Refuse(http.StatusBadRequest, "'%.300s': %s", asked, structs.AsError(err).Why)
	}
	return err
}

// owners are the names of users and groups by their numbers: looking one up reads a file.
type owners map[string]string

func (o owners) name(kind string, id uint32, look func(string) string) string {
	number := strconv.FormatUint(uint64(id), 10)
	name, known := o[kind+number]
	if !known {
		if name = look(number); name == "" {
			name = number
		}
		o[kind+number] = name
	}
	return name
}

func (o owners) fileInfo(at string, f *client.File) wire.FileInfo {
	uid := o.name("u", f.UID, func(n string) string {
		if u, err := user.LookupId(n); err == nil {
			return u.Username
		}
		return ""
	})
	gid := o.name("g", f.GID, func(n string) string {
		if g, err := user.LookupGroupId(n); err == nil {
			return g.Name
		}
		return ""
	})
	return wire.FileInfo{Path: at, Links: new(int32(f.Links)), Size: new(uint64(f.Size)), MTime: timeInfo(f.Changed), Mode: new(unixMode(f.Mode)), UID: &uid, GID: &gid}
}

// unixMode is a mode as stat(2) gives it.
func unixMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for _, x := range []struct {
		is  fs.FileMode
		bit uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&x.is != 0 {
			out |= x.bit
		}
	}
	switch {
	case m.IsRegular():
		return out | 0o100000
	case m.IsDir():
		return out | 0o040000
	case m&fs.ModeSymlink != 0:
		return out | 0o120000
	case m&fs.ModeNamedPipe != 0:
		return out | 0o010000
	case m&fs.ModeSocket != 0:
		return out | 0o140000
	case m&fs.ModeCharDevice != 0:
		return out | 0o020000
	case m&fs.ModeDevice != 0:
		return out | 0o060000
	}
	return out
}

// modeText is a mode as ls writes it.
func modeText(mode uint32) string {
	kind := map[uint32]byte{0o100000: '-', 0o040000: 'd', 0o120000: 'l', 0o010000: 'p', 0o140000: 's', 0o020000: 'c', 0o060000: 'b'}[mode&0o170000]
	if kind == 0 {
		kind = '?'
	}
	out := []byte{kind}
	for shift := 6; shift >= 0; shift -= 3 {
		for i, c := range []byte("rwx") {
			if mode>>shift&(4>>i) == 0 {
				c = '-'
			}
			out = append(out, c)
		}
	}
	for i, special := range []uint32{0o4000, 0o2000, 0o1000} {
		if mode&special == 0 {
			continue
		}
		at, set := 3*(i+1), byte('s')
		if special == 0o1000 {
			set = 't'
		}
		if out[at] == '-' {
			set -= 'a' - 'A'
		}
		out[at] = set
	}
	return string(out)
}
