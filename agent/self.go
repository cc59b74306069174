package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server/consensus"
	"github.com/proffer/proffer/structs"
)

// self is what the HTTP API sees of the agent.
type self Agent

var _ http.Agent = (*self)(nil)

func (a *self) Self(context.Context) (*api.Self, error) {
	a.mu.Lock()
	cfg := a.live
	a.mu.Unlock()
	out := &api.Self{Name: cfg.NodeName, Version: a.version, Region: cfg.Region, Datacenter: cfg.Datacenter,
		Server: a.server != nil, Client: a.client != nil, Dev: cfg.Dev, Config: map[string]any{}, Stats: map[string]string{}}
	raw, err := json.Marshal(cfg) // secrets write themselves as such
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &out.Config); err != nil {
		return nil, err
	}
	if a.client != nil {
		out.Node = a.client.Node().ID
		if server, ok := a.client.Connected(); ok {
			out.Stats["client.server"] = server
		}
	}
	if a.server != nil {
		leader := (*region)(a).Leadership()
		out.Leader = leader.Name
		st := a.server.Raft().Stats()
		out.Stats["raft.state"] = st.State
		out.Stats["raft.term"] = strconv.FormatUint(st.Term, 10)
		out.Stats["raft.commit_index"] = strconv.FormatUint(st.CommitIndex, 10)
		out.Stats["raft.applied_index"] = strconv.FormatUint(st.AppliedIndex, 10)
		out.Stats["region.feature_level"] = strconv.Itoa(a.server.Store().Snapshot().Meta().FeatureLevel)
		out.Stats["raft.snapshot_index"] = strconv.FormatUint(st.SnapshotIndex, 10)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	out.Stats["runtime.go"] = runtime.Version()
	out.Stats["runtime.goroutines"] = strconv.Itoa(runtime.NumGoroutine())
	out.Stats["runtime.heap"] = structs.Bytes(mem.HeapAlloc).Human()
	return out, nil
}

func (a *self) Healthy(context.Context) error {
	if a.server != nil && a.server.Raft().Leader().ID == "" {
		return structs.Errorf(structs.Unavailable, "server "+a.config.NodeName, "it knows no leader")
	}
	if a.client != nil {
		switch _, ok := a.client.Connected(); {
		case a.client.IsGone() && a.server == nil:
			return structs.Errorf(structs.Unavailable, "client "+a.config.NodeName, "an operator marked it gone: it takes no work").
				Advise("node purge -help says how its machine is had back")
		case !ok && !a.client.IsGone():
			return structs.Errorf(structs.Unavailable, "client "+a.config.NodeName, "it has no session with a server")
		}
	}
	return nil
}

func (a *self) Monitor(ctx context.Context, level slog.Level, asJSON bool, emit func([]byte) error) error {
	return a.logs.follow(ctx, level, asJSON, emit)
}

func (a *self) Reload(context.Context) (*api.Reloaded, error) {
	changed, err := (*Agent)(a).reloadConfig()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return &api.Reloaded{Changed: changed, Restart: a.needRestart}, nil
}

func (a *self) Members(context.Context) ([]*api.Member, error) {
	var leader string
	if a.server != nil {
		leader = a.server.Raft().Leader().ID
	}
	var out []*api.Member
	for _, m := range a.gossip.Members() {
		role := "client"
		if m.Role == gossip.RoleServer {
			role = "server"
		}
		out = append(out, &api.Member{Name: m.Name, Address: m.Addr, Role: role, Status: string(m.Status), Version: m.Version,
			Leader: m.ID == leader && leader != ""})
	}
	return out, nil
}

func (a *self) Join(ctx context.Context, addresses []string) (int, error) {
	return a.gossip.Join(ctx, (*Agent)(a).withPorts(addresses))
}

func (a *self) ForceLeave(_ context.Context, name string) error { return a.gossip.ForceLeave(name) }

// isServer is the error of calls that need a server.
func (a *self) isServer() error {
	if a.server == nil {
		return structs.Errorf(structs.Unavailable, "agent "+a.config.NodeName, "it is not a server").Advise("ask a server")
	}
	return nil
}

func (a *self) RaftPeers(context.Context) ([]*api.RaftPeer, error) {
	if err := a.isServer(); err != nil {
		return nil, err
	}
	peers, err := a.server.Raft().Peers()
	if err != nil {
		return nil, err
	}
	members := map[string]gossip.Member{}
	for _, m := range a.gossip.Members() {
		members[m.ID] = m
	}
	var out []*api.RaftPeer
	for _, p := range peers {
		m := members[p.ID]
		out = append(out, &api.RaftPeer{ID: p.ID, Name: m.Name, Address: p.Address, Voter: p.Voter, Leader: p.Leader,
			Healthy: m.Status == gossip.Alive})
	}
	return out, nil
}

func (a *self) RaftRemove(ctx context.Context, id string) error {
	if err := a.isServer(); err != nil {
		return err
	}
	return a.server.RemovePeer(ctx, id)
}

func (a *self) RaftTransfer(ctx context.Context, id string) error {
	if err := a.isServer(); err != nil {
		return err
	}
	return a.server.TransferLeadership(ctx, id)
}

func (a *self) SnapshotSave(ctx context.Context, w io.Writer) error {
	if err := a.isServer(); err != nil {
		return err
	}
	return a.server.SaveSnapshot(ctx, w)
}

func (a *self) SnapshotRestore(ctx context.Context, r io.Reader) (*api.SnapshotInfo, error) {
	if err := a.isServer(); err != nil {
		return nil, err
	}
	archive, err := a.server.RestoreSnapshot(ctx, r)
	if err != nil {
		return nil, err
	}
	return snapshotInfo(archive), nil
}

func (a *self) SnapshotInspect(_ context.Context, r io.Reader) (*api.SnapshotInfo, error) {
	return InspectSnapshot(r)
}

// InspectSnapshot reads a snapshot to its end and says what is in it.
func InspectSnapshot(r io.Reader) (*api.SnapshotInfo, error) {
	archive, err := consensus.InspectSnapshot(r)
	if err != nil {
		return nil, err
	}
	return snapshotInfo(archive), nil
}

func snapshotInfo(a consensus.Archive) *api.SnapshotInfo {
	return &api.SnapshotInfo{Version: a.Format, Index: a.Index, Region: a.Region, Generation: a.Generation, Time: a.Time,
		Size: structs.Bytes(a.Bytes), Records: a.Records, SHA256: a.Checksum}
}

// Keyring carries an operation out on every living member, this agent included, and says who has which key.
func (a *self) Keyring(ctx context.Context, op, key string) (*api.Keyring, error) {
	if a.keys == nil {
		return nil, structs.Errorf(structs.Conflict, "keyring", "the cluster has no gossip key").
			Advise("start every agent with encrypt set to one")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out := &api.Keyring{Keys: map[string]int{}, Problems: map[string]string{}}
	var mu sync.Mutex
	var refused *structs.Error
	var asking sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, m := range a.gossip.Members() {
		if m.Status != gossip.Alive {
			continue
		}
		out.Members++
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var keys []string
			err := a.pool.Call(ctx, m.Addr, "Agent.Keyring", &keyringRequest{op, key}, &keys)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Problems[m.Name] = err.Error()
				refused = structs.AsError(err)
				return
			}
			for i, k := range keys {
				out.Keys[k]++
				if i == 0 && m.Name == a.config.NodeName {
					out.Primary = k
				}
			}
		})
	}
	asking.Wait()
	if refused != nil && len(out.Problems) == out.Members {
		return nil, refused // by all of them
	}
	return out, nil
}

type keyringRequest struct{ Op, Key string }

// serveRPC registers what any agent answers.
func (a *Agent) serveRPC() {
	rpc.Handle(a.rpc, "Agent.Keyring", func(_ context.Context, req *keyringRequest) (*[]string, error) {
		if a.keys == nil {
			return nil, structs.Errorf(structs.Conflict, "keyring of "+a.config.NodeName, "it has no gossip key")
		}
		var err error
		switch req.Op {
		case "list":
		case "install":
			err = a.keys.Install(req.Key)
		case "use":
			err = a.keys.Use(req.Key)
		case "remove":
			err = a.keys.Remove(req.Key)
		default:
			err = structs.Errorf(structs.Invalid, "keyring", "%q is not list, install, use or remove", req.Op)
		}
		keys := a.keys.List()
		return &keys, err
	})
	if a.server != nil {
		a.serveFrameworks()
		a.rpc.HandleStream(tunnelMethod, func(ctx context.Context, st *rpc.Stream) error {
			return a.tunnel.serve(ctx, st)
		})
	}
}
