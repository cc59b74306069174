package http

import (
	"encoding/json"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const ndjson = "application/x-ndjson"

// allocPage answers with a page of allocations in any order.
func (c *call) allocPage(list []*structs.Allocation) (any, error) {
	slices.SortFunc(list, func(a, b *structs.Allocation) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return page(c, allocKey, func(from string) seq[*structs.Allocation] {
		at, _ := slices.BinarySearchFunc(list, from, func(a *structs.Allocation, id string) int { return strings.Compare(string(a.ID), id) })
		return slices.Values(list[at:])
	})
}

func allocList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Allocs)}, func(snap *state.Snapshot) (any, error) {
		return page(c, allocKey, func(id string) seq[*structs.Allocation] { return snap.AllocsFrom(structs.AllocID(id)) })
	})
}

func allocGet(c *call) (any, error) {
	found, err := c.alloc()
	if err != nil {
		return nil, err
	}
	return c.read([]state.Key{state.OfAlloc(found.ID)}, func(snap *state.Snapshot) (any, error) {
		a, err := allocByPrefix(snap, string(found.ID))
		if err != nil {
			return nil, err
		}
		return &api.AllocDetail{Allocation: *a, TaskNames: taskNames(snap, a)}, nil
	})
}

func allocStop(c *call) (any, error) {
	a, err := c.alloc()
	if err != nil {
		return nil, err
	}
	return c.written(&state.StopAlloc{ID: a.ID, Why: "stopped by " + c.actor}, "")
}

func allocRestart(c *call) (any, error) {
	var body api.AllocRestart
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := c.alloc()
	if err != nil {
		return nil, err
	}
	if body.Task != "" {
		if _, err := c.taskOf(a, body.Task); err != nil {
			return nil, err
		}
	}
	return c.written(&state.RestartAlloc{ID: a.ID, Task: body.Task}, "")
}

func allocSignal(c *call) (any, error) {
	var body api.AllocSignal
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Signal == "" {
		return nil, structs.Errorf(structs.Invalid, "signal", "it is missing").Advise(`give one such as "SIGHUP"`)
	}
	a, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	if body.Task != "" {
		if _, err := c.taskOf(a, body.Task); err != nil {
			return nil, err
		}
	}
	if err := node.Signal(c.r.Context(), a.ID, body.Task, body.Signal); err != nil {
		return nil, err
	}
	return &api.Written{Index: a.ModifyIndex}, nil
}

func allocStats(c *call) (any, error) {
	a, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	stats, err := node.Stats(c.r.Context(), a.ID)
	if err != nil {
		return nil, err
	}
	if stats == nil {
		stats = map[string]*drivers.Stats{}
	}
	return &api.AllocStats{Tasks: stats}, nil
}

// accepts reports whether the client asks for a content type by name.
func (c *call) accepts(kind string) bool {
	return slices.ContainsFunc(strings.Split(c.r.Header.Get("Accept"), ","), func(s string) bool {
		s, _, _ = strings.Cut(s, ";")
		return strings.TrimSpace(s) == kind
	})
}

// allocLogs sends a task's output: the bytes as they are, or frames that say which stream they are of when the client
// accepts JSON lines.
func allocLogs(c *call) (any, error) {
	a, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	task, err := c.taskOf(a, c.r.PathValue("task"))
	if err != nil {
		return nil, err
	}
	req := &api.LogsRequest{Alloc: a.ID, Task: task, Follow: c.yes("follow"), Offset: int64(c.number("offset")), Tail: int64(c.number("tail"))}
	switch which := c.str("stream"); which {
	case "stdout":
		req.Stdout = true
	case "stderr":
		req.Stderr = true
	case "", "both":
		req.Stdout, req.Stderr = true, true
	default:
		return nil, structs.Errorf(structs.Invalid, `query parameter "stream"`, "%q is not stdout, stderr or both", which)
	}
	frames := c.accepts(ndjson)
	kind := "application/octet-stream"
	if frames {
		kind = ndjson
	}
	out := c.lazyStream(kind)
	if req.Follow {
		out.begin() // there may be nothing to say for long
	}
	err = node.Logs(c.r.Context(), req, func(f *api.LogFrame) error {
		if !frames {
			_, err := out.Write(f.Data)
			return err
		}
		return out.line(f)
	})
	if err != nil && frames && out.begun && c.r.Context().Err() == nil {
		return nil, out.line(&api.LogFrame{Err: structs.AsError(err)})
	}
	if err == nil {
		out.begin()
	}
	return nil, err
}

// filePath returns the path parameter, relative to the allocation's folder and without a way out of it.
func (c *call) filePath() (string, error) {
	given := c.str("path")
	clean := path.Clean("/" + given)[1:]
	if strings.ContainsAny(given, "\x00\\") || strings.Contains("/"+given+"/", "/../") || len(given) > 4096 {
		return "", structs.Errorf(structs.Invalid, `query parameter "path"`, "%.200q is not a path below the allocation's folder", given)
	}
	return clean, nil
}

func (c *call) files(do func(a structs.AllocID, n Node, path string) (any, error)) (any, error) {
	file, err := c.filePath()
	if err != nil {
		return nil, err
	}
	a, node, err := c.allocNode()
	if err != nil {
		return nil, err
	}
	return do(a.ID, node, file)
}

func fsList(c *call) (any, error) {
	return c.files(func(a structs.AllocID, n Node, path string) (any, error) {
		list, err := n.List(c.r.Context(), a, path)
		if list == nil {
			list = []*api.FileInfo{}
		}
		return list, err
	})
}

func fsStat(c *call) (any, error) {
	return c.files(func(a structs.AllocID, n Node, path string) (any, error) { return n.Stat(c.r.Context(), a, path) })
}

func fsCat(c *call) (any, error) {
	return c.files(func(a structs.AllocID, n Node, path string) (any, error) {
		limit := int64(-1)
		if c.query.Has("limit") {
			limit = int64(c.number("limit"))
		}
		out := c.lazyStream("application/octet-stream")
		err := n.Read(c.r.Context(), a, path, int64(c.number("offset")), limit, out)
		if err == nil {
			out.begin() // an empty file
		}
		return nil, err
	})
}

// maxTree bounds a tar stream: the files in it, and their names.
const maxTree = tree.MaxBytes + tree.MaxBytes/8

func fsPack(c *call) (any, error) {
	return c.files(func(a structs.AllocID, n Node, path string) (any, error) {
		return nil, n.Pack(c.r.Context(), a, path, c.query.Get("name"), c.lazyStream(octets))
	})
}

func fsUnpack(c *call) (any, error) {
	return c.files(func(a structs.AllocID, n Node, path string) (any, error) {
		body, err := c.body()
		if err != nil {
			return nil, err
		}
		copied, err := n.Unpack(c.r.Context(), a, path, body)
		if err == nil {
			_, err = io.Copy(io.Discard, body) // what follows the end of a tar stream
		}
		return result(copied, err)
	})
}

// lazyStream begins its answer with the first write, so that an error before it still has a status.
type lazyStream struct {
	c     *call
	kind  string
	begun bool
	out   io.Writer
}

func (c *call) lazyStream(kind string) *lazyStream { return &lazyStream{c: c, kind: kind} }

func (s *lazyStream) begin() {
	if !s.begun {
		s.begun, s.out = true, s.c.stream(s.kind)
	}
}

func (s *lazyStream) Write(p []byte) (int, error) {
	s.begin()
	return s.out.Write(p)
}

// line writes v as one line of JSON.
func (s *lazyStream) line(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.Write(append(raw, '\n'))
	return err
}
