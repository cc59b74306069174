package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers/timing"
	"github.com/proffer/proffer/structs"
)

// images gets images, each once at a time, and remembers which ones the node pulled and when it used them last.
type images struct {
	d *Driver

	mu    sync.Mutex
	pulls map[given]*pull  // under way
	given map[given]bool   // by registries; up to maxGiven
	known map[string]*used // pulled by this node, by name
	root  string           // folder of the engine; empty: not known

	took timing.Times // to pull
}

// used is what is remembered of an image that the node pulled.
type used struct {
	ID   string    `json:"id"`
	Last time.Time `json:"last"` // of a start with it, or of its pull
	// Private says that it was pulled with a task's own credentials.
	Private bool `json:"private,omitempty"`
}

// pull is one pull, for everybody who wants the image now.
type pull struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting map[*func(kind, text string)]bool // under images.mu
	err     error                             // valid once done is closed
	img     *image
}

// image is one that the engine has.
type image struct {
	id   string
	user string // that it says to run as; empty: root
}

// fullName returns an image's full name: with a digest, and then without tag, or with a tag.
func fullName(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "image "+ref, "%w", err)
	}
	if digested, ok := named.(reference.Digested); ok {
		return reference.WithDigest(reference.TrimNamed(named), digested.Digest())
	}
	return reference.TagNameOnly(named), nil
}

// get returns an image, and pulls it where it is missing, the newest is wanted, or only the registry can say whether this task may have
// it. say hears of progress.
func (im *images) get(ctx context.Context, w *wish, say func(kind, text string)) (*image, error) {
	named, err := fullName(w.ref)
	if err != nil {
		return nil, err
	}
	name := named.String()
	login, as, err := im.d.opts.header(w, named)
	if err != nil && w.own != nil {
		return nil, err
	}
	if !im.mayUse(named, as) {
		if err == nil {
			err = im.ask(ctx, name, login, as)
		}
		if err != nil {
			return nil, err
		}
	}
	if !w.newest { // the node's credentials, which may be wrong, are for pulls
		found, err := im.find(ctx, name)
		if structs.KindOf(err) != structs.NotFound {
			if err == nil {
				im.use(name)
			}
			return found, err
		}
	}
	if err != nil {
		return nil, err
	}
	p := im.join(named, login, as, &say)
	defer im.leave(given{name, as}, p, &say)
	select {
	case <-p.done:
		if p.err == nil {
			say("pulled", fmt.Sprintf("image %s", name))
		}
		return p.img, p.err
	case <-ctx.Done():
		return nil, structs.Errorf(structs.Unknown, "image "+name, "its pull was given up: %w", context.Cause(ctx))
	}
}

func (im *images) find(ctx context.Context, name string) (found *image, err error) {
	err = im.d.engine.look(ctx, "image "+name, "look for it", func(ctx context.Context, api *client.Client) error {
		r, err := api.ImageInspect(ctx, name)
		found = &image{id: r.ID}
		if r.Config != nil {
			found.user = r.Config.User
		}
		return err
	})
	return found, err
}

// list returns the names of the engine's images with their sizes, for placement: best effort.
func (im *images) list(ctx context.Context) map[string]structs.Bytes {
	var all client.ImageListResult
	err := im.d.engine.look(ctx, im.d.engine.name(), "list images", func(ctx context.Context, api *client.Client) (err error) {
		all, err = api.ImageList(ctx, client.ImageListOptions{})
		return err
	})
	if err != nil {
		return nil
	}
	out := make(map[string]structs.Bytes)
	for i := range all.Items {
		for _, names := range [][]string{all.Items[i].RepoTags, all.Items[i].RepoDigests} {
			for _, name := range names {
				out[name] = structs.Bytes(all.Items[i].Size)
			}
		}
	}
	return out
}

// join takes part in the pull of an image and begins it when there is none.
func (im *images) join(named reference.Named, login, as string, say *func(kind, text string)) *pull {
	im.mu.Lock()
	defer im.mu.Unlock()
	name := named.String()
	key := given{name, as}
	p := im.pulls[key]
	if p == nil {
		ctx, cancel := context.WithCancel(im.d.running)
		p = &pull{done: make(chan struct{}), cancel: cancel, waiting: make(map[*func(kind, text string)]bool)}
		im.pulls[key] = p
		if !im.d.begin(func() {
			defer cancel()
			p.img, p.err = im.pull(ctx, named, login, as, func(text string) { im.tell(p, text) })
			im.mu.Lock()
			if im.pulls[key] == p {
				delete(im.pulls, key)
			}
			im.mu.Unlock()
			close(p.done)
		}) {
			cancel()
			delete(im.pulls, key)
			p.err = structs.Errorf(structs.Unavailable, "image "+name, "the agent stops")
			close(p.done)
		}
	}
	p.waiting[say] = true
	return p
}

// leave ends taking part; a pull that nobody waits for is given up.
func (im *images) leave(key given, p *pull, say *func(kind, text string)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	delete(p.waiting, say)
	if len(p.waiting) == 0 {
		p.cancel()
		if im.pulls[key] == p {
			delete(im.pulls, key) // who comes now begins anew
		}
	}
}

// tell passes progress on to those who wait, and to nobody after it has left.
func (im *images) tell(p *pull, text string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for say := range p.waiting {
		(*say)("pulling", text)
	}
}

// errStall ends a pull that makes no progress.
var errStall = errors.New("no progress")

// tellEvery is how often progress is told.
const tellEvery = time.Second

// pull pulls an image. What bounds it is the time without progress: a big image over a slow line takes as long as it takes.
func (im *images) pull(ctx context.Context, named reference.Named, login, as string, tell func(string)) (found *image, err error) {
	name := named.String()
	object := "image " + name
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(im.d.opts.PullStall, func() { cancel(errStall) })
	defer stall.Stop()
	fail := func(kind structs.Kind, err error) error {
		if errors.Is(context.Cause(ctx), errStall) {
			return structs.Errorf(structs.Unavailable, object, "its pull made no progress for %s", structs.Duration(im.d.opts.PullStall)).
				Advise("look at the registry %s", reference.Domain(named))
		}
		failed := structs.Errorf(kind, object, "pull: %w", err)
		switch kind {
		case structs.Exhausted:
			return im.d.engine.full(failed)
		case structs.Forbidden:
			return failed.Advise("check that it exists, and the name and password for %s", reference.Domain(named))
		}
		return failed
	}
	api, err := im.d.engine.client(ctx)
	if err != nil {
		return nil, im.d.engine.explain(ctx, ctx, object, "pull", structs.Unavailable, err)
	}
	tell(fmt.Sprintf("image %s", name))
	begun := time.Now()
	r, err := api.ImagePull(ctx, name, client.ImagePullOptions{RegistryAuth: login})
	if err != nil {
		switch kind := structs.KindOf(im.d.engine.explain(ctx, ctx, object, "", structs.Unavailable, err)); kind {
		case structs.NotFound, structs.Forbidden, structs.Invalid:
			return nil, fail(kind, err)
		}
		return nil, fail(kindOf(&jsonstream.Error{Message: err.Error()}), err) // the registry, or the way to it
	}
	defer r.Close()
	var layers progress
	told := time.Now()
	for in := json.NewDecoder(r); ; {
		var m jsonstream.Message
		err := in.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fail(structs.Unavailable, err)
		}
		if m.Error != nil {
			return nil, fail(kindOf(m.Error), m.Error)
		}
		if layers.take(&m) {
			stall.Reset(im.d.opts.PullStall)
		}
		if time.Since(told) >= tellEvery {
			told = time.Now()
			tell(fmt.Sprintf("image %s: %s", name, &layers))
		}
	}
	if found, err = im.find(ctx, name); err == nil {
		im.took.Since(begun)
		im.pulled(name, found.id, as)
	}
	return found, err
}

// kindOf says what an error in the middle of a pull means for another try. Some engines send a code, others words alone.
func kindOf(e *jsonstream.Error) structs.Kind {
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(e.Message, part) })
	}
	switch {
	case e.Code == http.StatusNotFound, says("manifest unknown", "no matching manifest", "not found: manifest"):
		return structs.NotFound
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden, says("pull access denied", "unauthorized:", "denied:", "no basic auth credentials"):
		return structs.Forbidden
	case noRoom(e.Message):
		return structs.Exhausted
	}
	return structs.Unavailable
}

// progress adds up what the engine says of the layers of a pull.
type progress struct {
	layers map[string]*layer
}

type layer struct {
	state      string
	now, total int64
	done       bool
}

// maxLayers bounds what is remembered; images have 127 at most.
const maxLayers = 1024

// take notes a message and reports whether it is progress.
func (p *progress) take(m *jsonstream.Message) bool {
	if m.ID == "" {
		return true
	}
	l := p.layers[m.ID]
	if l == nil {
		if len(p.layers) >= maxLayers {
			return true
		}
		if p.layers == nil {
			p.layers = make(map[string]*layer)
		}
		l = &layer{}
		p.layers[m.ID] = l
	}
	old := *l
	switch m.Status {
	case "Pull complete", "Already exists":
		l.done = true
	}
	l.state = m.Status
	if m.Progress != nil && m.Status == "Downloading" {
		l.now, l.total = m.Progress.Current, max(l.total, m.Progress.Total)
	} else if m.Progress != nil {
		return old.state != l.state || m.Progress.Current > 0 // unpacking
	}
	return *l != old
}

func (p *progress) String() string {
	var done int
	var now, total int64
	for _, l := range p.layers {
		if l.done {
			done++
		}
		now, total = now+l.now, total+l.total
		if l.done || l.state == "Extracting" || l.state == "Download complete" || l.state == "Verifying Checksum" {
			now += l.total - l.now
		}
	}
	if total == 0 {
		return fmt.Sprintf("%d of %d layers", done, len(p.layers))
	}
	return fmt.Sprintf("%d of %d layers, %s of %s", done, len(p.layers), roundSize(now), roundSize(total))
}

func roundSize(n int64) structs.Bytes {
	const mib = 1 << 20
	if n < 10*mib {
		return structs.Bytes(n >> 10 << 10)
	}
	return structs.Bytes(n / mib * mib)
}
