package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// manifestName is the first file of what is kept of an artifact of a registry; its layers follow, as they came. See DESIGN.md.
const manifestName = "manifest.json"

// maxLayers bounds an artifact or image.
const maxLayers = 256

// fromRegistry is what registries of images have: images, and anything else that was put there as an OCI artifact.
type fromRegistry struct{ client *registry.Client }

// reference reads REGISTRY/REPO[:TAG][@DIGEST] of an address.
func reference(object string, u *url.URL) (name.Reference, error) {
	text := u.Host + u.Path
	ref, err := name.ParseReference(text)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%w", err)
	}
	if got := ref.Context().RegistryStr(); got != u.Host && (u.Host != "docker.io" || got != name.DefaultRegistry) {
		return nil, structs.Errorf(structs.Invalid, object, "%q is not taken as the name of a registry", u.Host).
			Advise("write it with its domain or port")
	}
	return ref, nil
}

// fixed: a digest means the same for ever, a tag does not.
func (*fromRegistry) fixed(w *Want) bool {
	u, _, err := parse(w.Source)
	return err == nil && strings.Contains(u.Path, "@sha256:")
}

func (s *fromRegistry) fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error) {
	ref, err := reference(j.object, j.url)
	if err != nil {
		return false, err
	}
	username, password := "", ""
	if u := j.url.User; u != nil {
		username = u.Username()
		password, _ = u.Password()
	}
	repo, err := s.client.Repository("artifact", ref.Context(), username, password)
	if err != nil {
		return false, err
	}
	body, _, err := repo.Small(ctx, registry.Manifests, ref.Identifier())
	if err != nil {
		return false, err
	}
	m, raw, err := registry.Resolve(j.object, body, func(digest string) ([]byte, error) {
		body, _, err := repo.Small(ctx, registry.Manifests, digest)
		return body, err
	})
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(raw)
	e := entry{ETag: "sha256:" + hex.EncodeToString(sum[:])}
	if j.known != nil && j.known.ETag == e.ETag {
		return true, nil
	}
	pieces, whole, err := archiveOf(j.object, m, raw, p.limit)
	if err != nil {
		return false, err
	}
	if p.entry.ETag != e.ETag || p.have > whole {
		if err := p.restart(e); err != nil {
			return false, err
		}
	}
	return false, s.fill(ctx, j, p, repo, pieces, whole)
}

// piece is a stretch of what is kept: bytes, or a blob of the registry.
type piece struct {
	bytes []byte
	blob  registry.Blob
	at    int64 // where it begins
}

func (p *piece) size() int64 {
	if p.bytes != nil {
		return int64(len(p.bytes))
	}
	return p.blob.Size
}

// archiveOf is the tar archive of a manifest and its layers. It follows from the manifest alone, so that a transfer which broke, or
// whose agent was killed, goes on where it was.
func archiveOf(object string, m *v1.Manifest, raw []byte, limit int64) (all []piece, whole int64, err error) {
	if len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return nil, 0, structs.Errorf(structs.Invalid, object, "it has %d layers; from 1 to %d are possible", len(m.Layers), maxLayers)
	}
	add := func(p piece) {
		p.at = whole
		whole += p.size()
		all = append(all, p)
	}
	header := func(name string, size int64) error {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, Format: tar.FormatPAX}); err != nil {
			return structs.Errorf(structs.Invalid, object, "%w", err)
		}
		add(piece{bytes: b.Bytes()})
		return nil
	}
	padding := func(size int64) {
		if rest := size % 512; rest > 0 {
			add(piece{bytes: make([]byte, 512-rest)})
		}
	}
	if err := header(manifestName, int64(len(raw))); err != nil {
		return nil, 0, err
	}
	add(piece{bytes: raw})
	padding(int64(len(raw)))
	for _, l := range m.Layers {
		digest, err := registry.Hex(l.Digest.String())
		if err != nil {
			return nil, 0, structs.Errorf(structs.Invalid, object, "%w", err)
		}
		if l.Size < 0 || l.Size > limit-whole {
			return nil, 0, structs.Errorf(structs.Invalid, object, "it has more than %s", structs.Bytes(limit).Human()).
				Advise("client.artifact.max_size of the node bounds it")
		}
		if err := header(path.Join("blobs/sha256", digest), l.Size); err != nil {
			return nil, 0, err
		}
		if l.Size > 0 {
			add(piece{blob: registry.Blob{Digest: l.Digest.String(), Size: l.Size}})
			padding(l.Size)
		}
	}
	add(piece{bytes: make([]byte, 1024)})
	return all, whole, nil
}

// fill transfers what the part lacks.
func (s *fromRegistry) fill(ctx context.Context, j *job, p *part, repo *registry.Repository, pieces []piece, whole int64) error {
	for i := range pieces {
		c := &pieces[i]
		have := p.have - c.at
		switch {
		case have >= c.size():
		case c.bytes != nil:
			if _, err := p.Write(c.bytes[have:]); err != nil {
				return err
			}
		default:
			if err := s.layer(ctx, j, p, repo, c, whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// layer transfers one, and checks it. What is wrong is transferred again from its beginning: at most once for what an earlier time
// left or what came from several places, and then from each place that did not send it yet.
func (s *fromRegistry) layer(ctx context.Context, j *job, p *part, repo *registry.Repository, c *piece, whole int64) error {
	for mixed := 0; ; {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(p.f, c.at, p.have-c.at)); err != nil {
			return err
		}
		from, err := repo.Blob(ctx, c.blob, p.have-c.at, func(b []byte) error {
			n, err := p.Write(b)
			sum.Write(b[:n])
			p.progress.at(p.have, whole)
			return err
		})
		if err != nil {
			return err
		}
		if "sha256:"+hex.EncodeToString(sum.Sum(nil)) == c.blob.Digest {
			return nil
		}
		repo.Blame(c.blob.Digest, from)
		if err := p.rewind(c.at); err != nil {
			return err
		}
		if from == nil {
			if mixed++; mixed > 2 {
				return structs.Errorf(structs.Unavailable, j.object, "layer %s: what came is something else: %w", c.blob.Digest, registry.ErrDigest)
			}
		}
	}
}
