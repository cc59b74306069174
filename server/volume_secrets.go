package server

import (
	"context"

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
