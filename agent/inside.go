package agent

import (
	"bytes"
	"fmt"
	"io"
	nethttp "net/http"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// asking returns a client of this agent's own API in the name of somebody, without a connection: what other parts of the agent ask the region is
// checked, forwarded and recorded as if they had asked from outside.
func (a *Agent) asking(actor string) (*api.Client, error) {
	return api.New(api.Config{Transport: &inside{a, actor}})
}

// inside passes requests to the service of the agent.
type inside struct {
	a     *Agent
	actor string
}

func (i *inside) RoundTrip(r *nethttp.Request) (response *nethttp.Response, err error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	service := i.a.serving.Load()
	if service == nil {
		return nil, structs.Errorf(structs.Unavailable, "agent "+i.a.config.NodeName, "it is starting")
	}
	defer func() {
		if fault := recover(); fault != nil { // the answer was broken off
			response, err = nil, structs.Errorf(structs.Unknown, r.Method+" "+r.URL.Path, "the answer broke off: %v", fault)
		}
	}()
	taken := r.Clone(r.Context()) // a handler changes what it is given
	if taken.Body == nil {
		taken.Body = nethttp.NoBody
	}
	taken.RequestURI = r.URL.RequestURI()
	w := &insideAnswer{status: nethttp.StatusOK, header: nethttp.Header{}}
	service.ServeTrusted(w, taken, i.actor, "")
	if w.over {
		return nil, structs.Errorf(structs.Exhausted, r.Method+" "+r.URL.Path, "the answer has more than %d bytes", mostInside)
	}
	return &nethttp.Response{Status: fmt.Sprintf("%d %s", w.status, nethttp.StatusText(w.status)), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r}, nil
}

// mostInside bounds an answer, in bytes.
const mostInside = 16 << 20

// insideAnswer keeps an answer whole.
type insideAnswer struct {
	status int
	began  bool
	header nethttp.Header
	body   bytes.Buffer
	over   bool // there was more than is taken
}

func (w *insideAnswer) Header() nethttp.Header { return w.header }

func (w *insideAnswer) WriteHeader(status int) {
	if !w.began && status >= nethttp.StatusOK {
		w.began, w.status = true, status
	}
}

func (w *insideAnswer) Write(p []byte) (int, error) {
	w.began = true
	if w.over = w.over || w.body.Len()+len(p) > mostInside; w.over {
		return 0, io.ErrShortBuffer
	}
	return w.body.Write(p)
}

// Flush is for whoever passes an answer on piece by piece.
func (w *insideAnswer) Flush() {}
