package server

import (
	"context"
	"maps"
	"strconv"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Secrets of volumes of plugins are sealed as variables are before they are in the log. They are opened for the node that has the volume attached, and for
// the controller that is asked about it.

// volumePath is what the secrets of a volume are sealed for.
func volumePath(name string) string { return "@volume/" + name }

// sealVolume returns a command whose volume has its secrets sealed.
func (s *Server) sealVolume(ctx context.Context, cmd state.Command) (state.Command, error) {
	c, is := cmd.(*state.PutVolume)
	if !is || c.Volume == nil || c.Volume.CSI == nil || len(c.Volume.CSI.Secrets) == 0 {
		return cmd, nil
	}
	key, err := s.activeKey(ctx)
	if err != nil {
		return nil, err
	}
	sealed, err := s.ring.Seal(key, volumePath(c.Volume.Name), c.Volume.CSI.Secrets)
	if err != nil {
		return nil, err
	}
	return altered(c, func(c *state.PutVolume) {
		v, csi := *c.Volume, *c.Volume.CSI
		csi.Secrets, csi.Sealed = nil, sealed
		v.CSI, c.Volume = &csi, &v
	}), nil
}

// sealOutside has the secrets of a volume that a launch names in its storage sealed, for the record that it has while it is borrowed.
func (s *Server) sealOutside(ctx context.Context, v *LaunchVolume) error {
	if v.Outside == nil || len(v.Outside.CSI.Secrets) == 0 && len(v.References) == 0 {
		return nil
	}
	secrets := maps.Clone(v.Outside.CSI.Secrets)
	if secrets == nil {
		secrets = structs.Secrets{}
	}
	snap := s.store.Snapshot()
	for name, at := range v.References {
		if secrets[name], v.fault = s.referred(ctx, snap, at); v.fault != nil {
			return nil
		}
	}
	var problems structs.Problems
	if secrets.Check(&problems); problems.Err() != nil {
		v.fault = problems.Err()
		return nil
	}
	key, err := s.activeKey(ctx)
	if err != nil {
		return err
	}
	own, csi := *v.Outside, *v.Outside.CSI
	if csi.Sealed, err = s.ring.Seal(key, volumePath(outsideName(&csi)), secrets); err != nil {
		return err
	}
	csi.Secrets, own.CSI = nil, &csi
	v.Outside, v.References = &own, nil
	return nil
}

// referred returns what a variable has: an item of it, or without a name of that the only one.
func (s *Server) referred(ctx context.Context, snap *state.Snapshot, at *structs.Secret) (string, error) {
	_, items, err := s.OpenVariable(ctx, snap, at.Variable)
	if err != nil {
		return "", err
	}
	object := "variable " + strconv.Quote(at.Variable)
	if at.Item == "" && len(items) != 1 {
		return "", structs.Errorf(structs.Invalid, object, "it has %d items, and the reference has no key that says which", len(items))
	}
	for name, value := range items {
		if name == at.Item || at.Item == "" {
			return value, nil
		}
	}
	return "", structs.Errorf(structs.NotFound, object, "it has no item %q", at.Item)
}

// volumeSecrets returns the secrets of a volume.
func (s *Server) volumeSecrets(ctx context.Context, v *structs.Volume) (structs.Secrets, error) {
	if v.CSI.Sealed.Key == "" {
		return v.CSI.Secrets, nil // of a state from before they were sealed
	}
	return s.unseal(ctx, volumePath(v.Name), v.CSI.Sealed)
}

// openFor opens the secrets of a volume that is told to a node, which is the caller's copy. Without the key the node is told of the volume all the same: all
// that it does for others depends on it.
func (s *Server) openFor(ctx context.Context, v *structs.Volume) {
	if v.CSI == nil || v.CSI.Sealed.Key == "" {
		return
	}
	secrets, err := s.volumeSecrets(ctx, v)
	if err != nil {
		s.log.Warn("a node gets a volume without its secrets: they cannot be opened", "volume", v.Name, "err", err)
	}
	v.CSI.Secrets, v.CSI.Sealed = secrets, structs.Sealed{}
}
