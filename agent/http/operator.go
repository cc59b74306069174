package http

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func quoted(s string) string { return fmt.Sprintf("%.140q", s) }

func agentSelf(c *call) (any, error) { return c.s.Agent.Self(c.r.Context()) }

func agentHealth(c *call) (any, error) {
	if err := c.s.Agent.Healthy(c.r.Context()); err != nil {
		return nil, structs.Errorf(structs.Unavailable, "agent", "it is not healthy: %w", err)
	}
	return &api.Health{Healthy: true}, nil
}

func agentMetrics(c *call) (any, error) {
	out := c.lazyStream("text/plain; version=0.0.4; charset=utf-8")
	return nil, c.s.Agent.Metrics(c.r.Context(), out)
}

func agentMonitor(c *call) (any, error) {
	level := slog.LevelInfo
	if text := c.str("level"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, structs.Errorf(structs.Invalid, `query parameter "level"`, "%q is not debug, info, warn or error", text)
		}
	}
	out := c.lazyStream("text/plain; charset=utf-8")
	out.begin()
	err := c.s.Agent.Monitor(c.r.Context(), level, c.yes("json"), func(line []byte) error {
		_, err := out.Write(line)
		return err
	})
	if c.r.Context().Err() != nil {
		return nil, nil
	}
	return nil, err
}

func agentReload(c *call) (any, error) { return c.s.Agent.Reload(c.r.Context()) }

func memberList(c *call) (any, error) {
	list, err := c.s.Agent.Members(c.r.Context())
	if list == nil {
		list = []*api.Member{}
	}
	return list, err
}

func memberJoin(c *call) (any, error) {
	var body api.Join
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if n := len(body.Addresses); n == 0 || n > 100 {
		return nil, structs.Errorf(structs.Invalid, "addresses", "%d are not 1 to 100", n)
	}
	n, err := c.s.Agent.Join(c.r.Context(), body.Addresses)
	return &api.Joined{Joined: n}, err
}

func memberForceLeave(c *call) (any, error) {
	var body api.ForceLeave
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Name == "" {
		return nil, structs.Errorf(structs.Invalid, "name", "it is missing")
	}
	if err := c.s.Agent.ForceLeave(c.r.Context(), body.Name); err != nil {
		return nil, err
	}
	return &api.Done{Done: true}, nil
}

func raftPeers(c *call) (any, error) {
	list, err := c.s.Agent.RaftPeers(c.r.Context())
	if list == nil {
		list = []*api.RaftPeer{}
	}
	return list, err
}

// peer returns the id of the server that is meant by an id, the beginning of one, or a name. What is none of these stays
// as it is.
func (c *call) peer(given string) string {
	list, err := c.s.Agent.RaftPeers(c.r.Context())
	if err != nil || given == "" {
		return given
	}
	var found []string
	for _, p := range list {
		switch {
		case p.ID == given:
			return given
		case p.Name == given || len(given) >= 4 && strings.HasPrefix(p.ID, given):
			found = append(found, p.ID)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return given
}

func raftRemove(c *call) (any, error) {
	id := c.peer(c.r.PathValue("id"))
	if err := c.s.Agent.RaftRemove(c.r.Context(), id); err != nil {
		return nil, err
	}
	return &api.Done{Done: true}, nil
}

func raftTransfer(c *call) (any, error) {
	var body api.RaftServer
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := c.s.Agent.RaftTransfer(c.r.Context(), c.peer(body.ID)); err != nil {
		return nil, err
	}
	return &api.Done{Done: true}, nil
}

func snapshotSave(c *call) (any, error) {
	out := c.lazyStream("application/octet-stream")
	return nil, c.s.Agent.SnapshotSave(c.r.Context(), out)
}

func snapshotRestore(c *call) (any, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	return result(c.s.Agent.SnapshotRestore(c.r.Context(), body))
}

func snapshotInspect(c *call) (any, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	info, err := c.s.Agent.SnapshotInspect(c.r.Context(), body)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // so that the connection can be used again
	}
	return result(info, err)
}

// result makes a nil pointer with an error a nil answer.
func result[T any](v *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func simulate(c *call) (any, error) {
	var body api.SimulateRequest
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var err error
	for i := range body.Jobs {
		if body.Jobs[i], err = again(fmt.Sprintf("jobs[%d]", i), body.Jobs[i], func(name string, raw []byte) (*structs.Job, error) {
			return spec.ReadJob(name, raw, spec.Vars{}, c.s.Drivers)
		}); err != nil {
			return nil, err
		}
	}
	for i := range body.Roles {
		if body.Roles[i], err = again(fmt.Sprintf("roles[%d]", i), body.Roles[i], spec.ParseRole); err != nil {
			return nil, err
		}
	}
	return result(c.s.Region.Simulate(c.r.Context(), &body))
}

// again reads a part of a body as strictly as if it had come alone, with its defaults and valid.
func again[T any](name string, v *T, read func(name string, raw []byte) (*T, error)) (*T, error) {
	if v == nil {
		return nil, structs.Errorf(structs.Invalid, name, "it is null")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return read(name, raw)
}

func keyringList(c *call) (any, error) {
	return result(c.s.Agent.Keyring(c.r.Context(), "list", ""))
}

func keyringChange(c *call) (any, error) {
	var body api.KeyringChange
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch body.Op {
	case "install", "use", "remove":
	default:
		return nil, structs.Errorf(structs.Invalid, "op", "%.40q is not install, use or remove", body.Op)
	}
	return result(c.s.Agent.Keyring(c.r.Context(), body.Op, body.Key))
}

func statusLeader(c *call) (any, error) {
	l := c.s.Region.Leadership()
	if !l.Known {
		return nil, structs.Errorf(structs.Unavailable, "region", "no leader is known").Advise("look at operator raft list-peers: a majority of servers must run")
	}
	return &api.Leader{Name: l.Name, Address: l.Address}, nil
}

func openAPI(c *call) (any, error) {
	raw := c.s.openAPI()
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	c.deadline()
	_, err := c.w.Write(raw)
	return nil, err
}
