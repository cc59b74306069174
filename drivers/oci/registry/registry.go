package registry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/proffer/proffer/structs"
)

// Host is how to reach a registry.
type Host struct {
	Mirrors            []string // asked first, in that order: HOST[:PORT][/PREFIX]
	Username, Password string
	Insecure           bool // HTTP, or HTTPS with any certificate
}

// Client has the connections that all transfers share. Its methods may be called from any goroutine.
type Client struct {
	hosts          map[string]Host
	stall          time.Duration
	plain, anyCert *http.Transport
}

// New makes a client. A transfer that brings no byte for stall is cut and resumed.
func New(hosts map[string]Host, stall time.Duration) *Client {
	c := &Client{hosts: map[string]Host{}, stall: stall}
	for host, h := range hosts {
		if host == "docker.io" {
			host = name.DefaultRegistry
		}
		c.hosts[host] = h
	}
	c.plain = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: stall, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 8,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, // digests are of the bytes as they are
	}
	c.anyCert = c.plain.Clone()
	c.anyCert.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the operator said so for this registry
	return c
}

// Host is what the node knows of a registry.
func (c *Client) Host(registry string) Host { return c.hosts[registry] }

// Repository is where something is: in a registry and in its mirrors.
type Repository struct {
	stall     time.Duration
	object    string // what is asked for, such as "image": for messages
	endpoints []*Endpoint

	mu  sync.Mutex
	bad map[string][]*Endpoint // those that sent something else than a digest says
}

// Repository names the places of one. A username is for the registry itself; without one it is asked with the node's.
func (c *Client) Repository(object string, repo name.Repository, username, password string) (*Repository, error) {
	r := &Repository{stall: c.stall, object: object, bad: map[string][]*Endpoint{}}
	conf := c.hosts[repo.RegistryStr()]
	for i, place := range append(slices.Clone(conf.Mirrors), repo.RegistryStr()) {
		host, prefix, _ := strings.Cut(place, "/")
		at := conf
		if i < len(conf.Mirrors) {
			at = c.hosts[host]
		} else if username != "" {
			at.Username, at.Password = username, password
		}
		var opts []name.Option
		e := &Endpoint{object: object, auth: authn.Anonymous, base: c.plain}
		if at.Insecure {
			opts, e.base = append(opts, name.Insecure), c.anyCert
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

// Endpoint is one place that has a repository: a mirror, or the registry itself.
type Endpoint struct {
	object string
	repo   name.Repository
	auth   authn.Authenticator
	base   http.RoundTripper

	mu     sync.Mutex
	client *http.Client
}

// connect asks the registry how it wants to be asked, once.
func (e *Endpoint) connect(ctx context.Context) (*http.Client, error) {
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
func (e *Endpoint) get(ctx context.Context, kind, what string, from int64) (*http.Response, error) {
	client, err := e.connect(ctx)
	if err != nil {
		return nil, e.explain(what, err)
	}
	url := fmt.Sprintf("%s://%s/v2/%s/%s/%s", e.repo.Scheme(), e.repo.RegistryStr(), e.repo.RepositoryStr(), kind, what)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if kind == Manifests {
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
func (e *Endpoint) explain(what string, err error) error {
	if isCanceled(err) {
		return err
	}
	object := fmt.Sprintf("%s %s@%s", e.object, e.repo.Name(), what)
	if !strings.HasPrefix(what, "sha256:") {
		object = fmt.Sprintf("%s %s:%s", e.object, e.repo.Name(), what)
	}
	var t *transport.Error
	if !errors.As(err, &t) {
		return structs.Errorf(structs.Unavailable, object, "the registry cannot be asked: %w", err)
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return structs.Errorf(structs.Forbidden, object, "the registry refuses: %w", err).
			Advise("check that it exists, and the name and password for %s", e.repo.RegistryStr())
	case http.StatusNotFound:
		return structs.Errorf(structs.NotFound, object, "the registry does not have it").Advise("check its name and tag")
	}
	return structs.Errorf(structs.Unavailable, object, "the registry answered %d: %w", t.StatusCode, err)
}

// Kinds of what a repository has.
const (
	Manifests = "manifests"
	Blobs     = "blobs"
)

// MaxSmall bounds manifests, and blobs that are read as a whole.
const MaxSmall = 4 << 20

// Small reads a manifest, or a blob that is no layer, from the first place that has it, and checks its digest unless what is a
// tag.
func (r *Repository) Small(ctx context.Context, kind, what string) (body []byte, digest string, err error) {
	var errs []error
	for _, e := range r.endpoints {
		body, digest, err := e.small(ctx, r.stall, kind, what)
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

func (e *Endpoint) small(ctx context.Context, within time.Duration, kind, what string) ([]byte, string, error) {
	object := e.object + " " + e.repo.Name()
	asking, cancel := context.WithTimeout(ctx, 2*within)
	defer cancel()
	fail := func(err error) ([]byte, string, error) {
		if isCanceled(err) && ctx.Err() == nil {
			err = structs.Errorf(structs.Unavailable, object, "the registry does not answer within %v", 2*within)
		}
		return nil, "", err
	}
	resp, err := e.get(asking, kind, what, 0)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxSmall+1))
	if err != nil {
		return fail(e.explain(what, err))
	}
	if len(body) > MaxSmall {
		return fail(structs.Errorf(structs.Invalid, object, "%s is larger than %d bytes", what, MaxSmall))
	}
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if strings.HasPrefix(what, "sha256:") && what != digest {
		return fail(structs.Errorf(structs.Unavailable, object, "%s sent something else for %s", e.repo.RegistryStr(), what))
	}
	return body, digest, nil
}

// Hex returns the hexadecimal part of a sha256 digest, the only kind there is; anything else is refused before it becomes a file
// name or a part of an address.
func Hex(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(h); !ok || err != nil || len(raw) != sha256.Size || strings.ToLower(h) != h {
		return "", structs.Errorf(structs.Invalid, "digest "+strconv.Quote(digest), "it is no sha256 digest")
	}
	return h, nil
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
