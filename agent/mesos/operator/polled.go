package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"net/http"
	"path"
	"strconv"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/structs"
)

// agentProcess is before the paths of what Mesos calls an agent.
const agentProcess = "/slave(1)/"

// ClientPaths are those of documents and files of a node.
func ClientPaths() []string {
	return spelt(agentProcess, "state", "containers", "monitor/statistics", "metrics/snapshot", "flags", "system/stats",
		"files/browse", "files/read", "files/download", "files/debug")
}

// ClientOpenPaths are those that anybody may ask for.
func ClientOpenPaths() []string { return spelt(agentProcess, "health", "version") }

// Serve answers a request for one of ClientPaths or ClientOpenPaths.
func (c *Clients) Serve(w http.ResponseWriter, r *http.Request, _ mesos.Caller) {
	mesos.Answer(w, r, c.serve(w, r))
}

func (c *Clients) serve(w http.ResponseWriter, r *http.Request) error {
	name, padding, err := asksFor(w, r, "/slave(1)")
	if err != nil {
		return err
	}
	if name == "files/download" { // it takes as long as who asked does
		return c.download(w, r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	e := newEncoder()
	switch name {
	case "health":
		w.WriteHeader(http.StatusOK)
		return nil
	case "version", "flags", "system/stats":
		return padding.send(w, ofSelf(name, c.About()))
	case "metrics/snapshot":
		e.figures(c.metrics(ctx))
	case "files/browse":
		err = c.browse(ctx, e, r.URL.Query().Get("path"))
	case "files/read":
		err = c.readPart(ctx, e, r)
	case "files/debug":
		c.debug(e)
	default:
		v := c.views[name]
		return v.shared.get(ctx, func(ctx context.Context, _ *body) (*body, func(), error) {
			err := v.write(ctx, c, e)
			return e.body(), nil, err
		}, func(b *body) error { return padding.send(w, b) })
	}
	if err != nil {
		return err
	}
	return padding.send(w, e.body())
}

// browse writes what is in a folder.
func (c *Clients) browse(ctx context.Context, e *encoder, asked string) error {
	files, err := c.list(ctx, asked)
	if err != nil {
		return err
	}
	e.open('[')
	for i := range files {
		f := &files[i]
		e.open('{')
		e.textAt("path", f.Path)
		e.intAt("nlink", int64(*f.Links))
		e.intAt("size", int64(*f.Size))
		e.key("mtime")
		at := structs.Time(0)
		if f.MTime != nil {
			at = structs.Time(f.MTime.Nanoseconds)
		}
		e.seconds(at)
		e.textAt("mode", modeText(*f.Mode))
		e.textAt("uid", *f.UID)
		e.textAt("gid", *f.GID)
		e.close('}')
		e.part()
	}
	e.close(']')
	return nil
}

// readPart writes some of a file. Without an offset it writes where the end is.
func (c *Clients) readPart(ctx context.Context, e *encoder, r *http.Request) error {
	number := func(name string) (int64, error) {
		given := r.URL.Query().Get(name)
		if given == "" {
			return -1, nil
		}
		n, err := strconv.ParseInt(given, 10, 64)
		if err != nil || n < -1 {
			return 0, mesos.Refuse(http.StatusBadRequest, "Failed to parse '%s': '%.50s' is no such number", name, given)
		}
		return n, nil
	}
	offset, err := number("offset")
	if err != nil {
		return err
	}
	length, err := number("length")
	if err != nil {
		return err
	}
	if length < 0 {
		length = mostRead
	}
	from, size, data, err := c.read(ctx, r.URL.Query().Get("path"), offset, int(min(length, mostRead)))
	if err != nil {
		return err
	}
	if offset < 0 || from > size {
		from = size
	}
	e.open('{')
	e.textAt("data", string(data))
	e.intAt("offset", from)
	e.close('}')
	return nil
}

// debug writes which sandboxes there are, and whose they are. Where they are on the node is nobody's business.
func (c *Clients) debug(e *encoder) {
	e.open('{')
	for _, k := range c.Client.Known(mostEnded) {
		e.named(directory(k.Alloc))
		e.text(string(k.Alloc.ID))
	}
	e.close('}')
}

// download sends a file whole. Output of a task of which the beginning is gone is sent from there.
func (c *Clients) download(w http.ResponseWriter, r *http.Request) error {
	asked := r.URL.Query().Get("path")
	p, err := c.place(asked)
	if err != nil {
		return err
	}
	if p.all {
		return mesos.Refuse(http.StatusBadRequest, "Cannot download a directory")
	}
	out := &attachment{w: w, name: path.Base(path.Clean("/" + asked))}
	if stream := p.stream(); stream != "" {
		err = c.sendOutput(r.Context(), p, stream, out)
	} else {
		err = c.Client.ReadFile(r.Context(), p.of.Alloc.ID, p.name(), 0, 0, out)
	}
	if out.began {
		if err != nil {
			panic(http.ErrAbortHandler) // who asked must not take what came for the whole
		}
		return nil
	}
	if err != nil {
		return fileRefusal(asked, err)
	}
	out.begin()
	return nil
}

// sendOutput sends what a task wrote up to now.
func (c *Clients) sendOutput(ctx context.Context, p *sandboxPlace, stream string, to *attachment) error {
	buf := make([]byte, mostRead)
	for at, end := int64(0), int64(-1); ; {
		from, n, of, err := c.Client.ReadOutput(p.of.Alloc.ID, p.task, stream, at, buf)
		if err != nil {
			return err
		}
		if end < 0 {
			end = of.End // what is written meanwhile is not waited for
		}
		n = int(min(int64(n), end-from))
		if n <= 0 {
			return nil
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return err
		}
		if at = from + int64(n); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// attachment is a file as an answer, which begins with its first byte: until then it may be refused.
type attachment struct {
	w     http.ResponseWriter
	name  string
	began bool
}

func (a *attachment) begin() {
	a.began = true
	h := a.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment; filename="+strconv.QuoteToASCII(a.name))
}

func (a *attachment) Write(p []byte) (int, error) {
	if !a.began {
		a.begin()
	}
	return a.w.Write(p)
}
