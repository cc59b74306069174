package docker

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// engine is the connection to a Docker engine. Its methods may be called from any goroutine.
type engine struct {
	opts *Options

	mu  sync.Mutex
	api *client.Client // speaks a version that the engine has; nil: not asked yet
	is  string         // that version

	folder atomic.Value // a string: where the engine keeps what it has, as it last said
}

func (e *engine) name() string { return "docker engine " + e.opts.Endpoint }

// dial makes a client and asks the engine for the version of its API. Without that, a client would try its own newest one, and an
// older engine would refuse the request as if the task were wrong.
func (e *engine) dial(ctx context.Context) (*client.Client, error) {
	opts := []client.Opt{client.WithHost(e.opts.Endpoint), client.WithUserAgent("proffer")}
	if e.opts.CAFile != "" || e.opts.CertFile != "" {
		opts = append(opts, client.WithTLSClientConfig(e.opts.CAFile, e.opts.CertFile, e.opts.KeyFile))
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, e.name(), "it cannot be connected to: %w", err)
	}
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		api.Close()
		return nil, err
	}
	return api, nil
}

// client returns the connection, and makes it when there is none.
func (e *engine) client(ctx context.Context) (*client.Client, error) {
	e.mu.Lock()
	api := e.api
	e.mu.Unlock()
	if api != nil {
		return api, nil
	}
	api, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.api != nil { // somebody was faster
		api.Close()
		return e.api, nil
	}
	e.api, e.is = api, api.ClientVersion()
	return api, nil
}

// renew replaces the client when the engine behind the endpoint has another version now.
func (e *engine) renew(ctx context.Context) error {
	api, err := e.dial(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.api != nil && e.is == api.ClientVersion() {
		api.Close()
		return nil
	}
	if e.api != nil {
		e.api.Close() // idle connections only: calls go on
	}
	e.api, e.is = api, api.ClientVersion()
	return nil
}

func (e *engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.api != nil {
		e.api.Close()
		e.api = nil
	}
}

// errSlow ends a call to which the engine gave no answer in time.
var errSlow = errors.New("the engine did not answer")

// look makes a call that changes nothing, bounded by the node's call_timeout. Its errors have kinds; what for says what was wanted.
func (e *engine) look(ctx context.Context, object, what string, call func(context.Context, *client.Client) error) error {
	return e.bounded(ctx, object, what, structs.Unavailable, call)
}

// act makes a call that changes something: when its answer is lost it is Unknown.
func (e *engine) act(ctx context.Context, object, what string, call func(context.Context, *client.Client) error) error {
	return e.bounded(ctx, object, what, structs.Unknown, call)
}

func (e *engine) bounded(ctx context.Context, object, what string, lost structs.Kind, call func(context.Context, *client.Client) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, e.opts.CallTimeout, errSlow)
	defer cancel()
	api, err := e.client(limited)
	if err != nil {
		lost = structs.Unavailable // nothing was asked yet
	} else {
		err = call(limited, api)
	}
	return e.explain(ctx, limited, object, what, lost, err)
}

// explain gives an error of the engine its kind. ctx is the caller's, limited the one of the call.
func (e *engine) explain(ctx, limited context.Context, object, what string, lost structs.Kind, err error) error {
	if err == nil {
		return nil
	}
	var known *structs.Error
	switch {
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return structs.Errorf(lost, object, "%s was given up: %w", what, context.Cause(ctx))
	case limited.Err() != nil:
		return structs.Errorf(lost, object, "%s: the engine did not answer within %s", what, structs.Duration(e.opts.CallTimeout)).
			Advise("look at the engine at %s", e.opts.Endpoint)
	}
	kind := lost // the connection broke
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission) && !answered(err):
		kind = structs.Unavailable // it was never made
	case errdefs.IsNotFound(err):
		kind = structs.NotFound
	case errdefs.IsConflict(err):
		kind = structs.Conflict
	case errdefs.IsInvalidArgument(err), errdefs.IsNotImplemented(err), errdefs.IsOutOfRange(err):
		kind = structs.Invalid
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		kind = structs.Forbidden
	case errdefs.IsUnavailable(err), errdefs.IsResourceExhausted(err):
		kind = structs.Unavailable
	case errdefs.IsInternal(err), errdefs.IsUnknown(err):
		kind = structs.Internal
	}
	if answered(err) && noRoom(err.Error()) {
		return e.full(structs.Errorf(structs.Exhausted, object, "%s: %w", what, err))
	}
	return structs.Errorf(kind, object, "%s: %w", what, err)
}

// noRoom reports whether a text of the engine says that a disk is full.
func noRoom(text string) bool {
	return strings.Contains(text, "no space left on device") || strings.Contains(text, "disk quota exceeded")
}

// full says which disk is, as far as that is known.
func (e *engine) full(err *structs.Error) *structs.Error {
	if dir, _ := e.folder.Load().(string); dir != "" {
		if percent := full(dir); percent > 0 {
			return err.Advise("free space on the engine's disk: that of %s is %d%% full", dir, percent)
		}
		return err.Advise("free space on the engine's disk, which has %s", dir)
	}
	return err.Advise("free space on the disk of the engine at %s", e.opts.Endpoint)
}

// answered reports whether the engine said something, even if it was an error.
func answered(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsConflict(err) || errdefs.IsInvalidArgument(err) || errdefs.IsInternal(err) ||
		errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err)
}

// up waits until the engine answers, or ctx ends. Many may wait: each asks for itself, once a second in the end.
func (e *engine) up(ctx context.Context) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := e.look(ctx, e.name(), "ping", func(ctx context.Context, api *client.Client) error {
			_, err := api.Ping(ctx, client.PingOptions{})
			return err
		})
		if err == nil {
			return nil
		}
		if !pause.For(ctx, wait) {
			return err
		}
	}
}
