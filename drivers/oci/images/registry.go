//go:build linux

package images

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/proffer/proffer/structs"
)

// remote has the connections that all pulls share.
type remote struct {
	registries     map[string]Registry
	plain, anyCert *http.Transport
}

func (r *remote) init(opts Options) {
	r.registries = map[string]Registry{}
	for host, reg := range opts.Registries {
		if host == "docker.io" {
			host = name.DefaultRegistry
		}
		r.registries[host] = reg
	}
	r.plain = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: opts.Stall, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 8,
		DisableCompression: true, // digests are of the bytes as they are
	}
	r.anyCert = r.plain.Clone()
	r.anyCert.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the operator said so for this registry
}

// endpoint is one place that has an image's repository: a mirror, or the registry itself.
type endpoint struct {
	repo name.Repository
	auth authn.Authenticator
	base http.RoundTripper

	mu     sync.Mutex
	client *http.Client
}

// registry is an image of a registry. It implements source.
type registry struct {
	s         *Store
	ref       Reference
	pass      string // of whoever asks, see Store.pass
	endpoints []*endpoint

	mu  sync.Mutex
	bad map[string][]*endpoint // those that sent something else than a digest says
}

func (s *Store) registry(want Want) (*registry, error) {
	repo := want.Ref.ref.Context()
	r := &registry{s: s, ref: want.Ref, pass: s.pass(want), bad: map[string][]*endpoint{}}
	conf := s.remote.registries[repo.RegistryStr()]
	places := append(slices.Clone(conf.Mirrors), repo.RegistryStr())
	for i, place := range places {
		host, prefix, _ := strings.Cut(place, "/")
		at := conf
		if i < len(conf.Mirrors) {
			at = s.remote.registries[host]
		} else { // the task's own are for the registry that it names
			at.Username, at.Password = s.login(want)
		}
		var opts []name.Option
		e := &endpoint{auth: authn.Anonymous, base: s.remote.plain}
		if at.Insecure {
			opts, e.base = append(opts, name.Insecure), s.remote.anyCert
		}
		if at.Username != "" {
			e.auth = &authn.Basic{Username: at.Username, Password: at.Password}
		}
		path := repo.RepositoryStr()
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			path = prefix + "/" + path
		}
		var err error
		if e.repo, err = name.NewRepository(host+"/"+path, opts...); err != nil {
			return nil, structs.Errorf(structs.Invalid, "registry "+place, "%w", err)
		}
		r.endpoints = append(r.endpoints, e)
	}
	return r, nil
}

// connect asks the registry how it wants to be asked, once.
func (e *endpoint) connect(ctx context.Context) (*http.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		rt, err := transport.NewWithContext(ctx, e.repo.Registry, e.auth, e.base, []string{e.repo.Scope(transport.PullScope)})
		if err != nil {
			return nil, err
		}
		e.client = &http.Client{Transport: rt}
	}
	return e.client, nil
}

// get asks for a manifest or blob. The answer's status is 200 or 206.
func (e *endpoint) get(ctx context.Context, kind, what string, from int64) (*http.Response, error) {
	client, err := e.connect(ctx)
	if err != nil {
		return nil, e.explain(what, err)
	}
	url := fmt.Sprintf("%s://%s/v2/%s/%s/%s", e.repo.Scheme(), e.repo.RegistryStr(), e.repo.RepositoryStr(), kind, what)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if kind == "manifests" {
		req.Header.Set("Accept", strings.Join([]string{string(types.OCIManifestSchema1), string(types.OCIImageIndex),
			string(types.DockerManifestSchema2), string(types.DockerManifestList)}, ", "))
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, e.explain(what, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent && from > 0 {
		return resp, nil
	}
	err = transport.CheckError(resp, http.StatusOK)
	resp.Body.Close()
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0 {
		return e.get(ctx, kind, what, 0) // some know no range without an end
	}
	return nil, e.explain(what, err)
}

// explain gives an error of a registry its kind.
func (e *endpoint) explain(what string, err error) error {
	if isCanceled(err) {
		return err
	}
	object := fmt.Sprintf("image %s@%s", e.repo.Name(), what)
	if !strings.HasPrefix(what, "sha256:") {
		object = fmt.Sprintf("image %s:%s", e.repo.Name(), what)
	}
	var t *transport.Error
	if !errors.As(err, &t) {
		return structs.Errorf(structs.Unavailable, object, "the registry cannot be asked: %w", err)
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return structs.Errorf(structs.Forbidden, object, "the registry refuses: %w", err).
			Advise("check that the image exists, and the name and password for %s", e.repo.RegistryStr())
	case http.StatusNotFound:
		return structs.Errorf(structs.NotFound, object, "the registry does not have it").Advise("check its name and tag")
	}
	return structs.Errorf(structs.Unavailable, object, "the registry answered %d: %w", t.StatusCode, err)
}

// maxManifest bounds manifests and configs.
const maxManifest = 4 << 20

// small reads a manifest, or a blob that is no layer, from the first place that has it, and checks its digest unless what is a
// tag.
func (r *registry) small(ctx context.Context, kind, what string) (body []byte, digest string, err error) {
	var errs []error
	for _, e := range r.endpoints {
		body, digest, err := e.small(ctx, r.s.opts.Stall, kind, what)
		if err == nil {
			return body, digest, nil
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	return nil, "", last(errs)
}

// last is what the registry itself said, with what its mirrors said.
func last(errs []error) error {
	err := errs[len(errs)-1]
	if len(errs) == 1 {
		return err
	}
	return structs.Errorf(structs.KindOf(err), "", "%w (and its mirrors: %v)", err, errors.Join(errs[:len(errs)-1]...))
}

func (e *endpoint) small(ctx context.Context, within time.Duration, kind, what string) ([]byte, string, error) {
	asking, cancel := context.WithTimeout(ctx, 2*within)
	defer cancel()
	fail := func(err error) ([]byte, string, error) {
		if isCanceled(err) && ctx.Err() == nil {
			err = structs.Errorf(structs.Unavailable, "image "+e.repo.Name(), "the registry does not answer within %v", 2*within)
		}
		return nil, "", err
	}
	resp, err := e.get(asking, kind, what, 0)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return fail(e.explain(what, err))
	}
	if len(body) > maxManifest {
		return fail(structs.Errorf(structs.Invalid, "image "+e.repo.Name(), "%s is larger than %d bytes", what, maxManifest))
	}
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if strings.HasPrefix(what, "sha256:") && what != digest {
		return fail(structs.Errorf(structs.Unavailable, "image "+e.repo.Name(), "%s sent something else for %s", e.repo.RegistryStr(), what))
	}
	return body, digest, nil
}

func (r *registry) who() string { return r.pass + " " + r.ref.ref.Context().Name() }

func (r *registry) image(ctx context.Context) (*contents, error) {
	body, digest, err := r.small(ctx, "manifests", r.ref.ref.Identifier())
	if err != nil {
		return nil, err
	}
	m, err := resolve(r.ref.String(), body, func(d string) ([]byte, error) {
		b, _, err := r.small(ctx, "manifests", d)
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
	if c.config, _, err = r.small(ctx, "blobs", c.id); err != nil {
		return nil, err
	}
	return c, nil
}

// resolve follows indexes to the manifest of this machine's platform.
func resolve(object string, body []byte, get func(digest string) ([]byte, error)) (*v1.Manifest, error) {
	for range 3 { // an index in an index is seen; more is somebody's joke
		var kind struct {
			MediaType types.MediaType   `json:"mediaType"`
			Manifests []v1.Descriptor   `json:"manifests"`
			Layers    []json.RawMessage `json:"layers"`
		}
		if err := json.Unmarshal(body, &kind); err != nil {
			return nil, structs.Errorf(structs.Invalid, "image "+object, "its manifest cannot be read: %w", err)
		}
		if kind.Manifests == nil {
			m := new(v1.Manifest)
			if err := json.Unmarshal(body, m); err != nil || m.SchemaVersion != 2 {
				return nil, structs.Errorf(structs.Invalid, "image "+object, "its manifest is of no known kind (schema %d, %s)", m.SchemaVersion, m.MediaType)
			}
			return m, nil
		}
		d, err := choose(object, kind.Manifests)
		if err != nil {
			return nil, err
		}
		if body, err = get(d.Digest.String()); err != nil {
			return nil, err
		}
	}
	return nil, structs.Errorf(structs.Invalid, "image "+object, "its indexes refer to one another")
}

// choose picks this machine's platform from an index.
func choose(object string, list []v1.Descriptor) (*v1.Descriptor, error) {
	var have []string
	var fallback *v1.Descriptor
	for i := range list {
		p := list[i].Platform
		if p == nil {
			fallback = &list[i]
			continue
		}
		if p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return &list[i], nil // variants of an architecture come with the most common one first
		}
		have = append(have, p.String())
	}
	if fallback != nil && len(list) == 1 {
		return fallback, nil
	}
	return nil, structs.Errorf(structs.Invalid, "image "+object, "it has no variant for linux/%s, only for %s", runtime.GOARCH, strings.Join(have, ", "))
}

// describe checks a manifest and lists its parts.
func describe(object string, m *v1.Manifest) (*contents, error) {
	if len(m.Layers) > maxLayers {
		return nil, structs.Errorf(structs.Invalid, "image "+object, "it has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	c := &contents{id: m.Config.Digest.String()}
	if _, err := hexOf(c.id); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if _, err := hexOf(l.Digest.String()); err != nil {
			return nil, err
		}
		if l.Size < 0 {
			return nil, structs.Errorf(structs.Invalid, "image "+object, "layer %s has the size %d", l.Digest, l.Size)
		}
		c.blobs = append(c.blobs, blob{digest: l.Digest.String(), size: l.Size})
	}
	return c, nil
}

// good lists the places that did not send anything wrong for a digest.
func (r *registry) good(digest string) []*endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.endpoints), func(e *endpoint) bool { return slices.Contains(r.bad[digest], e) })
}

func (r *registry) blame(digest string, e *endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[digest] = append(r.bad[digest], e)
}
