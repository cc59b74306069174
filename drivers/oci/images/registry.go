//go:build linux

package images

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// remote is an image of a registry. It implements source.
type remote struct {
	s    *Store
	ref  Reference
	pass string // of whoever asks, see Store.pass
	repo *registry.Repository
}

func (s *Store) remote(want Want) (*remote, error) {
	username, password := s.login(want)
	repo, err := s.registries.Repository("image", want.Ref.ref.Context(), username, password)
	if err != nil {
		return nil, err
	}
	return &remote{s: s, ref: want.Ref, pass: s.pass(want), repo: repo}, nil
}

func (r *remote) who() string { return r.pass + " " + r.ref.ref.Context().Name() }

func (r *remote) image(ctx context.Context) (*contents, error) {
	body, digest, err := r.repo.Small(ctx, registry.Manifests, r.ref.ref.Identifier())
	if err != nil {
		return nil, err
	}
	m, _, err := registry.Resolve("image "+r.ref.String(), body, func(d string) ([]byte, error) {
		b, _, err := r.repo.Small(ctx, registry.Manifests, d)
		return b, err
	})
	if err != nil {
		return nil, err
	}
	c, err := describe(r.ref.String(), m)
	if err != nil {
		return nil, err
	}
	c.digest = digest
	if c.config, _, err = r.repo.Small(ctx, registry.Blobs, c.id); err != nil {
		return nil, err
	}
	return c, nil
}

// describe checks a manifest and lists its parts.
func describe(object string, m *v1.Manifest) (*contents, error) {
	if len(m.Layers) > maxLayers {
		return nil, structs.Errorf(structs.Invalid, "image "+object, "it has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	c := &contents{id: m.Config.Digest.String()}
	if _, err := registry.Hex(c.id); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if _, err := registry.Hex(l.Digest.String()); err != nil {
			return nil, err
		}
		if l.Size < 0 {
			return nil, structs.Errorf(structs.Invalid, "image "+object, "layer %s has the size %d", l.Digest, l.Size)
		}
		c.blobs = append(c.blobs, blob{digest: l.Digest.String(), size: l.Size})
	}
	return c, nil
}
