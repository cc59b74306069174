package agent

import (
	"context"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func (r *region) PutVariable(ctx context.Context, key, actor, path string, put *api.VariablePut) (uint64, error) {
	return r.server.PutVariable(ctx, key, actor, &server.VariablePut{Path: path, Items: put.Items, Secret: put.Secret, TTL: put.TTL, Check: put.Check})
}

func (r *region) OpenVariable(ctx context.Context, snap *state.Snapshot, path string) (*structs.Variable, map[string]string, error) {
	return r.server.OpenVariable(ctx, snap, path)
}

func (r *region) RegionKeys(ctx context.Context) (out []*api.RegionKey, err error) {
	keys, err := r.server.Keys(ctx)
	for _, k := range keys {
		out = append(out, &api.RegionKey{RegionKey: *k.Key, Variables: k.Variables, Servers: k.Servers, Asked: k.Asked})
	}
	return out, err
}

func (r *region) RotateKey(ctx context.Context) error {
	snap, err := r.server.Read(ctx, false)
	if err != nil {
		return err
	}
	active := ""
	if k := snap.ActiveKey(); k != nil {
		active = k.ID
	}
	return r.server.RotateKey(ctx, active)
}

func (r *region) ExportKeys(ctx context.Context) ([][]byte, error) { return r.server.ExportKeys(ctx) }

func (r *region) ImportKeys(ctx context.Context, keys [][]byte) error {
	return r.server.ImportKeys(ctx, keys)
}
