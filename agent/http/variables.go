package http

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Sealer is what handlers need of the server to read and write what variables hold, and of its keys. All methods may be called from
// any goroutine and return when ctx ends.
type Sealer interface {
	// PutVariable seals and puts values, as Propose commits a command; index is the version.
	PutVariable(ctx context.Context, key, actor, path string, put *api.VariablePut) (index uint64, err error)
	// OpenVariable returns a variable of snap with its values; NotFound when it is not there or has expired.
	OpenVariable(ctx context.Context, snap *state.Snapshot, path string) (*structs.Variable, map[string]string, error)
	RegionKeys(ctx context.Context) ([]*api.RegionKey, error)
	RotateKey(ctx context.Context) error
	ExportKeys(ctx context.Context) ([][]byte, error)
	ImportKeys(ctx context.Context, keys [][]byte) error
}

const (
	maxVariable = 2 << 20 // of a body: JSON may take six bytes for one
	maxKeyFile  = 1 << 20
)

func variableList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Variables)}, func(snap *state.Snapshot) (any, error) {
		now := structs.At(time.Now())
		return page(c, variableKey, func(from string) seq[*structs.Variable] {
			return func(yield func(*structs.Variable) bool) {
				for v := range snap.Variables(from) {
					if !v.Gone(now) && !yield(v) {
						return
					}
				}
			}
		})
	})
}

func variableKey(v *structs.Variable) string { return v.Path }

// variable returns the path of the variable.
func (c *call) variable() (string, error) {
	path := c.r.PathValue("path")
	return path, structs.VariableProblem(path)
}

func variableGet(c *call) (any, error) {
	path, err := c.variable()
	if err != nil {
		return nil, err
	}
	return c.read([]state.Key{state.OfVariable(path)}, func(snap *state.Snapshot) (any, error) {
		v, items, err := c.s.Region.OpenVariable(c.r.Context(), snap, path)
		if err != nil {
			return nil, err
		}
		return &api.VariableDetail{Variable: *v, Items: items}, nil
	})
}

func variablePut(c *call) (any, error) {
	path, err := c.variable()
	if err != nil {
		return nil, err
	}
	var body api.VariablePut
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := structs.ItemsProblems(body.Items).Err(); err != nil {
		return nil, err
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	index, err := c.s.Region.PutVariable(c.r.Context(), key, c.actor, path, &body)
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("X-Proffer-Index", strconv.FormatUint(index, 10))
	return &api.Written{Index: index}, nil
}

func variableRenew(c *call) (any, error) {
	path, err := c.variable()
	if err != nil {
		return nil, err
	}
	var body api.VariableRenew
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.written(&state.RenewVariable{Path: path, Check: body.Check, TTL: body.TTL}, "")
}

func variableDelete(c *call) (any, error) {
	path, err := c.variable()
	if err != nil {
		return nil, err
	}
	d := &state.DeleteVariable{Path: path}
	if c.query.Has("check") {
		d.Check = new(c.number("check"))
	}
	return c.written(d, "")
}

func serviceList(c *call) (any, error) {
	keys := []state.Key{state.OfTable(state.Allocs), state.OfTable(state.Versions)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		return page(c, func(s *structs.ServiceSummary) string { return s.Name }, func(from string) seq[*structs.ServiceSummary] {
			return summaries(snap, from)
		})
	})
}

// summaries yields the services that something may give, by name.
func summaries(snap *state.Snapshot, from string) iter.Seq[*structs.ServiceSummary] {
	return func(yield func(*structs.ServiceSummary) bool) {
		for name, jobs := range snap.Services(from) {
			list, allocs, _ := snap.ServiceInstances(name)
			s := &structs.ServiceSummary{Name: name, Ready: len(list), Allocs: allocs}
			for _, job := range jobs {
				if r := snap.Job(job); r != nil && (!r.Stopped || allocs > 0) {
					s.Jobs = append(s.Jobs, job)
				}
			}
			for _, i := range list {
				for _, tag := range i.Tags {
					if !slices.Contains(s.Tags, tag) {
						s.Tags = append(s.Tags, tag)
					}
				}
			}
			slices.Sort(s.Tags)
			if len(s.Jobs) > 0 && !yield(s) {
				return
			}
		}
	}
}

func serviceGet(c *call) (any, error) {
	name, err := c.name("name")
	if err != nil {
		return nil, err
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	return c.read(snap.ServiceKeys(name), func(snap *state.Snapshot) (any, error) {
		list, _, known := snap.ServiceInstances(name)
		if known {
			return list, nil
		}
		e := structs.Errorf(structs.NotFound, "service "+quoted(name), "no job has it")
		var names []string
		for other := range snap.Services("") {
			if names = append(names, other); len(names) == mostNames {
				break
			}
		}
		return nil, advise(e, name, names)
	})
}

func keyList(c *call) (any, error) {
	list, err := c.s.Region.RegionKeys(c.r.Context())
	if list == nil {
		list = []*api.RegionKey{}
	}
	return list, err
}

func keyRotate(c *call) (any, error) {
	if err := c.s.Region.RotateKey(c.r.Context()); err != nil {
		return nil, err
	}
	return &api.Done{Done: true}, nil
}

func keyExport(c *call) (any, error) {
	keys, err := c.s.Region.ExportKeys(c.r.Context())
	if err != nil {
		return nil, err
	}
	return &api.KeyExport{Keys: keys}, nil
}

func keyImport(c *call) (any, error) {
	var body api.KeyExport
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if n := len(body.Keys); n == 0 || n > 1000 {
		return nil, structs.Errorf(structs.Invalid, "keys", "%d are not 1 to 1000", n)
	}
	if err := c.s.Region.ImportKeys(c.r.Context(), body.Keys); err != nil {
		return nil, err
	}
	return &api.Done{Done: true}, nil
}

func keyDrop(c *call) (any, error) {
	given := c.r.PathValue("id")
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	k, err := byPrefix("key", given, func(k *structs.RegionKey) string { return k.ID }, func(from string) seq[*structs.RegionKey] {
		return func(yield func(*structs.RegionKey) bool) {
			for k := range snap.RegionKeys() {
				if k.ID >= from && !yield(k) {
					return
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return c.written(&state.DropKey{ID: k.ID}, "")
}
