package http

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

func volumeList(c *call) (any, error) {
	return c.read([]state.Key{state.OfTable(state.Volumes)}, func(snap *state.Snapshot) (any, error) {
		return page(c, volumeKey, func(from string) seq[*structs.Volume] { return snap.VolumesFrom(from) })
	})
}

func volumeKey(v *structs.Volume) string { return v.Name }

func volumeGet(c *call) (any, error) {
	name := c.r.PathValue("name")
	keys := []state.Key{state.OfVolume(name), state.OfTable(state.Allocs)}
	return c.read(keys, func(snap *state.Snapshot) (any, error) {
		v := snap.Volume(name)
		if v == nil {
			return nil, structs.Errorf(structs.NotFound, "volume "+quoted(name), "there is none")
		}
		d := &api.VolumeDetail{Volume: *v, Claims: []*api.VolumeClaim{}}
		for a := range snap.Claimants(v) {
			held := a.Claim(v.ID)
			d.Claims = append(d.Claims, &api.VolumeClaim{Alloc: a.ID, Incarnation: a.Incarnation, Job: a.Job, Group: a.Group, Index: a.Index,
				Status: a.Status, Desired: a.Desired, ReadOnly: held.ReadOnly, Alone: held.Access.Alone(held.ReadOnly)})
			if len(d.Claims) == maxStatus {
				break
			}
		}
		return d, nil
	})
}

func volumeCreate(c *call) (any, error) {
	var wish api.NewVolume
	if err := c.decode(&wish); err != nil {
		return nil, err
	}
	body := wish.Volume
	if body.CSI != nil {
		body.CSI.Secrets = wish.Secrets
	} else if len(wish.Secrets) > 0 {
		return nil, structs.Errorf(structs.Invalid, "secrets", "only a volume of a plugin has secrets")
	}
	body.Role, body.Access = cmp.Or(body.Role, structs.DefaultRole), cmp.Or(body.Access, structs.AccessExclusive)
	if err := body.Problems().Err(); err != nil {
		return nil, err
	}
	if body.Node != "" {
		snap, err := c.snapshot()
		if err != nil {
			return nil, err
		}
		n, err := nodeByPrefix(snap, string(body.Node))
		if err != nil {
			return nil, err
		}
		body.Node = n.ID
	}
	body.Principal = cmp.Or(body.Principal, c.actor)
	result, err := c.propose(&state.PutVolume{Volume: &body})
	if err != nil {
		return nil, err
	}
	return &api.VolumeMade{ID: result.Answer.(*state.VolumeMade).ID, Index: result.Index}, nil
}

func volumeResize(c *call) (any, error) {
	var body api.VolumeResize
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return c.written(&state.ResizeVolume{Name: c.r.PathValue("name"), ID: body.ID, Size: body.Size}, "")
}

func volumeDetach(c *call) (any, error) {
	var body api.VolumeDetach
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	name := c.r.PathValue("name")
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	v := snap.Volume(name)
	if v == nil {
		return nil, structs.Errorf(structs.NotFound, "volume "+quoted(name), "there is none")
	}
	node, err := attachedTo(v, body.Node)
	if err != nil {
		return nil, err
	}
	return c.written(&state.DetachVolume{Name: name, ID: cmp.Or(body.ID, v.ID), Node: node}, "")
}

// attachedTo returns the node with that name, or with that beginning of an id, that a volume is attached to. The region may have forgotten it.
func attachedTo(v *structs.Volume, given string) (found structs.NodeID, err error) {
	for id, at := range maps.All(v.Attachments()) {
		if given == "" || at.NodeName != given && !strings.HasPrefix(string(id), given) {
			continue
		}
		if found != "" {
			return "", structs.Errorf(structs.Invalid, "node "+quoted(given), "volume %q is attached to more than one of that name", v.Name).Advise("give more of its id")
		}
		found = id
	}
	if found == "" {
		return "", structs.Errorf(structs.NotFound, "volume "+quoted(v.Name), "it is not attached to node %.200q", given).Advise("volume status %s shows where it is", v.Name)
	}
	return found, nil
}

// keepVolume is how long the data of a deleted volume stays when nobody says otherwise.
const keepVolume = structs.Duration(72 * time.Hour)

func volumeDelete(c *call) (any, error) {
	keep := keepVolume
	if text := c.str("keep"); text != "" {
		var err error
		if keep, err = structs.ParseDuration(text); err != nil || keep < 0 {
			return nil, structs.Errorf(structs.Invalid, "keep", "%q is no time span such as 72h", text)
		}
	}
	return c.written(&state.DeleteVolume{Name: c.r.PathValue("name"), Keep: keep, Forget: c.str("forget") == "true"}, "")
}

func volumeUndelete(c *call) (any, error) {
	return c.written(&state.UndeleteVolume{Name: c.r.PathValue("name")}, "")
}
