package frameworktest

import (
	"context"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// region is what the HTTP API sees of a server. What frameworks have no use for is not there.
type region struct{ server *server.Server }

var _ http.Region = (*region)(nil)

func notHere(what string) error {
	return structs.Errorf(structs.Unavailable, what, "the region of a test does not have it")
}

func (r *region) Read(ctx context.Context, stale bool) (*state.Snapshot, error) {
	return r.server.Read(ctx, stale)
}

func (r *region) Store() *state.Store { return r.server.Store() }

func (r *region) Propose(ctx context.Context, e state.Envelope) (result state.Result) {
	result.Answer, result.Index, result.Err = r.server.Propose(ctx, e.Key, e.Actor, e.Command)
	return result
}

func (r *region) Leadership() http.Leadership {
	leader := r.server.Raft().Leader()
	return http.Leadership{Known: leader.ID != "", Contact: r.server.Raft().Stats().LastContact}
}

func (r *region) Offers(ctx context.Context) ([]*structs.Offer, error) { return r.server.Offers(ctx) }

func (r *region) OfferStatus(ctx context.Context, id structs.FrameworkID) (*structs.OfferStatus, error) {
	return r.server.OfferStatus(ctx, id)
}

func (r *region) Slack(ctx context.Context, node structs.NodeID) (*structs.SlackStatus, error) {
	return r.server.Slack(ctx, node)
}

func (r *region) Maintenance(ctx context.Context) ([]*structs.NodeMaintenance, error) {
	return r.server.Maintenance(ctx)
}

func (r *region) Shares(ctx context.Context) ([]*structs.RoleStanding, error) {
	return r.server.Shares(ctx)
}

func (r *region) Explain(context.Context, string, string) (*api.Explanation, error) {
	return nil, notHere("explain")
}

func (r *region) Plan(context.Context, *structs.Job) (*api.Explanation, error) {
	return nil, notHere("plan")
}

func (r *region) Simulate(context.Context, *api.SimulateRequest) (*api.Simulated, error) {
	return nil, notHere("simulate")
}

func (r *region) Node(context.Context, structs.NodeID) (http.Node, error) {
	return nil, notHere("node")
}

func (r *region) PutVariable(ctx context.Context, key, actor, path string, put *api.VariablePut) (uint64, error) {
	return r.server.PutVariable(ctx, key, actor, &server.VariablePut{Path: path, Items: put.Items, Secret: put.Secret, TTL: put.TTL, Check: put.Check})
}

func (r *region) OpenVariable(ctx context.Context, snap *state.Snapshot, path string) (*structs.Variable, map[string]string, error) {
	return r.server.OpenVariable(ctx, snap, path)
}

func (r *region) RegionKeys(context.Context) ([]*api.RegionKey, error) { return nil, notHere("keys") }

func (r *region) RotateKey(context.Context) error { return notHere("keys") }

func (r *region) ExportKeys(context.Context) ([][]byte, error) { return nil, notHere("keys") }

func (r *region) ImportKeys(context.Context, [][]byte) error { return notHere("keys") }
