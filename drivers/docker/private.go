package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/structs"
)

// An engine has one store of images for everybody, and does not ask who may use what is there. What a task brought with credentials of its
// own is for others only when the registry gives it to them too: of a repository from which one was brought so, every start asks.

// wish is an image that a start wants.
type wish struct {
	ref    string
	newest bool         // ask the registry in any case
	own    *Credentials // of the task; nil: the node's
}

// header is what the registry is asked with, and its fingerprint, which tells those apart that ask with different credentials.
func (o *Options) header(w *wish, image reference.Named) (login, as string, err error) {
	if w.own == nil {
		login, err = o.login(image)
		return login, "", err
	}
	login, err = header(registry.AuthConfig{Username: w.own.Username, Password: w.own.Password, ServerAddress: reference.Domain(image)})
	sum := sha256.Sum256([]byte(login))
	return login, hex.EncodeToString(sum[:]), err
}

// mayUse reports whether a start may use an image that is there without asking the registry.
func (im *images) mayUse(named reference.Named, as string) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.given[given{named.String(), as}] {
		return true
	}
	of := func(name string) bool {
		other, err := reference.ParseNormalizedNamed(name)
		return err == nil && other.Name() == named.Name()
	}
	for p := range im.pulls {
		if p.as != "" && p.as != as && of(p.name) {
			return false
		}
	}
	for name, u := range im.known {
		if u.Private && of(name) {
			return false
		}
	}
	return true
}

// ask has the registry say whether it gives an image to who asks so. A pull would not: what is in the engine already, by its digest, is
// not asked for again.
func (im *images) ask(ctx context.Context, name, login, as string) error {
	object := "image " + name
	err := im.d.engine.look(ctx, object, "ask the registry, for it was brought with the credentials of a task", func(ctx context.Context, api *client.Client) error {
		_, err := api.DistributionInspect(ctx, name, client.DistributionInspectOptions{EncodedRegistryAuth: login})
		return err
	})
	switch structs.KindOf(err) {
	case "":
		im.mu.Lock()
		defer im.mu.Unlock()
		im.give(given{name, as})
		return nil
	case structs.NotFound, structs.Forbidden, structs.Invalid:
		return err
	}
	e := structs.AsError(err)
	e.Kind = kindOf(&jsonstream.Error{Message: err.Error()})
	return e
}

// give notes that a registry gave an image. The caller holds mu.
func (im *images) give(g given) {
	if len(im.given) >= maxGiven {
		clear(im.given) // they are asked again
	}
	im.given[g] = true
}

// maxGiven bounds what is remembered of that.
const maxGiven = 4096

// given is that a registry gave an image to who asked with some credentials, while this agent runs.
type given struct{ name, as string }
