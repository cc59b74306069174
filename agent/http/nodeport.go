package http

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/structs"
)

// executorPaths are where executors look for their API.
var executorPaths = []string{"/api/v1/executor", "/api/v1/executor/", "/slave(1)/api/v1/executor", "/slave(1)/api/v1/executor/"}

// NodePortOptions is what the port of a node is made of, where clients of Mesos look for what they call an agent.
type NodePortOptions struct {
	Executors http.Handler      // serves the executor API
	Tools     *operator.Clients // serves the operator API of the node, and what its tools poll; nil: none
	Secrets   *Credentials      // of the principals of the APIs of Mesos; nil: none
	Token     string            // that each request must carry, but for those of executors; empty: only this machine may ask
	Names     []string          // host names that the node answers to, beside addresses and localhost; lower case
	Log       *slog.Logger
}

// NodePort serves the port of a node.
type NodePort struct{ *front }

// NewNodePort returns what serves the port of a node. It starts nothing.
func NewNodePort(o NodePortOptions) *NodePort {
	n := &NodePort{newFront(o.Token, o.Names, o.Secrets, o.Log)}
	n.rest = func(w http.ResponseWriter, r *http.Request) {
		refused(w, r)
		writeError(w, requestID(r), structs.Errorf(structs.NotFound, r.URL.Path, "there is no such path"))
	}
	n.ofMesos(ExecutorRealm, o.Executors.ServeHTTP, executorPaths...)
	if t := o.Tools; t != nil {
		read := func(w http.ResponseWriter, r *http.Request) { t.Serve(w, r, n.Caller(r)) }
		n.ofMesos(OpenRealm, read, operator.ClientOpenPaths()...)
		n.ofMesos(AgentReadOnlyRealm, read, operator.ClientPaths()...)
		n.ofMesos(AgentReadWriteRealm, func(w http.ResponseWriter, r *http.Request) { t.Call(w, r, n.Caller(r)) }, operator.ClientCallPaths...)
		n.ofMesos(AgentReadWriteRealm, t.Toggle, operator.TogglePaths...)
	}
	n.mux.HandleFunc("/", n.rest)
	return n
}

// Serve answers on ln until ctx ends, then lets what is under way finish for a few seconds. It closes ln.
func (n *NodePort) Serve(ctx context.Context, ln net.Listener) error { return serve(ctx, ln, n, n.log) }
