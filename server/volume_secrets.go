package server

import (
	"context"
	"errors"

	"github.com/proffer/proffer/server/seal"
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

// volumeSecrets returns the secrets of a volume.
func (s *Server) volumeSecrets(ctx context.Context, v *structs.Volume) (structs.Secrets, error) {
	c := v.CSI
	if c.Sealed.Key == "" {
		return c.Secrets, nil // of a state from before they were sealed
	}
	values, err := s.ring.Open(volumePath(v.Name), c.Sealed)
	if missing := (*seal.Missing)(nil); errors.As(err, &missing) {
		if err = s.fetchKey(ctx, c.Sealed.Key); err == nil {
			values, err = s.ring.Open(volumePath(v.Name), c.Sealed)
		}
	}
	return values, err
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

// resealVolumes adds to a command the volumes that have secrets which are not sealed with the active key, for at most so many bytes. It returns the first
// fault, and whether there may be more.
func (s *Server) resealVolumes(ctx context.Context, snap *state.Snapshot, active string, budget int, c *state.ResealVariables) (left bool, fault error) {
	for v := range snap.Volumes() {
		if v.CSI == nil || v.CSI.Sealed.Key == active || v.CSI.Sealed.Key == "" && len(v.CSI.Secrets) == 0 {
			continue
		}
		secrets, err := s.volumeSecrets(ctx, v)
		var sealed structs.Sealed
		if err == nil {
			sealed, err = s.ring.Seal(active, volumePath(v.Name), secrets)
		}
		if err != nil {
			if fault == nil {
				fault = err
			}
			continue
		}
		if budget -= partBytes + len(v.Name) + len(sealed.Data); budget < 0 && len(c.Volumes) > 0 {
			return true, fault
		}
		c.Volumes = append(c.Volumes, &state.ResealedVolume{Name: v.Name, ID: v.ID, Was: v.CSI.Sealed.Key, Sealed: sealed})
	}
	return false, fault
}
