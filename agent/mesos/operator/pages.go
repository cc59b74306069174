package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
)

// What the documents of servers and of clients have in common.

// spelt returns the paths of documents in all spellings. process is that of a process of Mesos, with slashes around it.
func spelt(process string, names ...string) (out []string) {
	for _, name := range names {
		for _, prefix := range []string{"/", process} {
			out = append(out, prefix+name, prefix+name+".json")
		}
	}
	return out
}

// asksFor returns which document a request is for, and what is to be wrapped around it.
func asksFor(w http.ResponseWriter, r *http.Request, process string) (name string, p padding, err error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return "", "", mesos.Refuse(http.StatusMethodNotAllowed, "Expecting one of { 'GET', 'HEAD' }, but received '%s'", r.Method)
	}
	p, err = paddingOf(r)
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, process), "/"), ".json"), p, err
}

// ofSelf returns a document that an agent has whatever it is.
func ofSelf(name string, self About) *body {
	d := &document{encoder: newEncoder(), self: self}
	switch name {
	case "version":
		d.open('{')
		d.version()
		d.close('}')
	case "flags":
		d.open('{')
		d.flags()
		d.close('}')
	case "system/stats":
		d.stats()
	}
	return d.body()
}

// padding is what a page of another origin wraps an answer in; empty: nothing.
type padding string

func paddingOf(r *http.Request) (padding, error) {
	name := r.URL.Query().Get("jsonp")
	if len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.") != "" {
		return "", mesos.Refuse(http.StatusBadRequest, "Failed to parse query parameter 'jsonp': it is no name of a function")
	}
	return padding(name), nil
}

// send writes an answer as it comes: its size is known if it is whole by the time that there is something to send. errCut: it did not come
// to its end.
func (p padding) send(w http.ResponseWriter, b *body) error {
	before, after := "", ""
	w.Header().Set("Content-Type", "application/json")
	if p != "" {
		w.Header().Set("Content-Type", "text/javascript")
		before, after = string(p)+"(", ");"
	}
	for n, more := 0, true; more; {
		var chunks [][]byte
		var err error
		if chunks, more, err = b.from(n); err != nil {
			return err
		}
		if n == 0 {
			if !more {
				w.Header().Set("Content-Length", strconv.Itoa(len(before)+sizeOf(chunks)+len(after)))
			}
			io.WriteString(w, before) // who asked may have gone: then nothing that is written matters
		}
		n += len(chunks)
		for _, chunk := range chunks {
			if _, err := w.Write(chunk); err != nil {
				return nil
			}
		}
	}
	io.WriteString(w, after)
	return nil
}
