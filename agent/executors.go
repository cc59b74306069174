package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/containers"
	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/client/replace"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// Executors of external frameworks: they have a port of their own on each client.

func (a *Agent) openExecutors(context.Context) error {
	if !a.config.IsClient() {
		return nil
	}
	l, err := net.Listen("tcp", a.config.ExecutorListen())
	if err != nil {
		return structs.Errorf(structs.Unavailable, "executor port "+a.config.ExecutorListen(), "%w", err).
			Advise("another process may have the port: choose another with -executor-port")
	}
	a.executors = l
	a.began(func(context.Context) { l.Close() })
	return nil
}

// openExecutorSocket listens at a domain socket, as agents of Mesos do with http_executor_domain_sockets. It has a folder of its own: that is
// what executors see, so that those which run find the socket of the next agent in the place of this one's. The data folder is this agent's.
func (a *Agent) openExecutorSocket() error {
	path := a.socketOfExecutors()
	if path == "" {
		return nil
	}
	fault := func(err error) *structs.Error {
		return structs.Errorf(structs.Unavailable, "executor socket "+path, "%w", err)
	}
	const longest = 107 // bytes: unix(7), sun_path
	if len(path) > longest {
		return fault(fmt.Errorf("its path has %d bytes, and %d is the most for a socket", len(path), longest)).
			Advise("choose a data_dir with a shorter path, or leave client.executor_socket out")
	}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return fault(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an agent that was killed
		return fault(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fault(err)
	}
	a.began(func(context.Context) { l.Close() })
	a.beside = l
	if err := os.Chmod(path, 0o666); err != nil { // executors run as any user; their tokens say who they are
		return fault(err)
	}
	return nil
}

// socketOfExecutors is the path of that socket; empty: there is to be none.
func (a *Agent) socketOfExecutors() string {
	if c := a.config.Client; c == nil || !c.ExecutorSocket {
		return ""
	}
	return filepath.Join(a.sub("executors"), "agent.sock")
}

// executorKey returns the key of the node that signs the tokens of executors. It is made once: executors outlive the agent, and those
// that run keep their tokens.
func executorKey(path string) (mesos.ExecutorKey, error) {
	const size = 32
	fault := func(err error) error {
		return structs.Errorf(structs.Unavailable, "file "+path, "the key of the tokens of executors: %w", err).
			Advise("without the file another key is made, and executors that run cannot prove who they are")
	}
	raw, err := os.ReadFile(path)
	switch {
	case err == nil && len(raw) == size:
		return raw, nil
	case err == nil:
		return nil, fault(fmt.Errorf("it has %d bytes and not %d", len(raw), size))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fault(err)
	}
	key := make([]byte, size)
	rand.Read(key) // it never fails
	if err := replace.Bytes(path, key); err != nil {
		return nil, fault(err)
	}
	return key, nil
}

// takeMesos lets count what the configuration says of the APIs of Mesos.
func (a *Agent) takeMesos(m *config.Mesos) {
	var demand []http.Realm
	if slices.Contains(m.Authenticate, config.SchedulerAPI) {
		demand = append(demand, http.SchedulerRealm)
	}
	if slices.Contains(m.Authenticate, config.OperatorAPI) {
		demand = append(demand, http.ReadWriteRealm, http.ReadOnlyRealm, http.AgentReadWriteRealm, http.AgentReadOnlyRealm)
	}
	a.secrets.Set(m.Secrets(), demand...)
	a.passOn.Store(m.Forward)
	a.askTokens.Store(slices.Contains(m.Authenticate, config.ExecutorAPI))
}

// serveExecutors serves the executor API, and on its port what clients of Mesos ask an agent.
func (a *Agent) serveExecutors(context.Context) error {
	a.takeMesos(a.config.Mesos)
	if a.client == nil {
		return nil
	}
	log, port := a.log.With("part", "mesos"), a.executors.Addr().(*net.TCPAddr).Port
	within := containers.New(a.client, func(actor string) (containers.Jobs, error) { return a.asking(actor) }, log)
	executors := &mesos.Executors{Node: a.client, Message: a.messageFramework, Key: a.executorKey, Demand: a.askTokens.Load, Port: port, Region: a.config.Region,
		Counts: &a.executed, Log: log}
	a.node = http.NewNodePort(http.NodePortOptions{
		Executors: executors,
		Tools: operator.NewClients(operator.ClientOptions{Client: a.client, About: a.about, Verbose: a.logs.verbose, Port: port,
			Frameworks: a.frameworksOnNode, Containers: within, Counts: &a.executed, Log: log}),
		Secrets: &a.secrets, Token: a.config.Token.Reveal(), Names: a.names(), Log: log})
	ctx, cancel := context.WithCancel(a.ctx)
	var serving sync.WaitGroup
	serve := func(port *http.NodePort, at net.Listener) {
		serving.Go(func() {
			if err := port.Serve(ctx, at); err != nil && ctx.Err() == nil {
				a.log.Error("the executor API ended", "at", at.Addr(), "err", err)
			}
		})
	}
	serve(a.node, a.executors)
	if a.beside != nil { // tasks see it: it serves nothing else
		serve(http.NewNodePort(http.NodePortOptions{Executors: executors, Log: log}), a.beside)
	}
	a.began(func(context.Context) { cancel(); within.Close(); serving.Wait() })
	return nil
}

// messageFramework passes a message of an executor on to whoever leads, through the servers that gossip knows.
func (a *Agent) messageFramework(ctx context.Context, framework structs.FrameworkID, executor string, data []byte) error {
	m := &server.ExecutorMessage{Framework: framework, Node: a.client.Node().ID, Executor: executor, Data: data}
	if a.server != nil {
		return a.server.MessageFramework(ctx, m)
	}
	err := error(structs.Errorf(structs.Unavailable, "message", "no server is known"))
	for _, addr := range a.gossip.Servers() {
		if err = a.pool.Call(ctx, addr, server.ExecutorMessageMethod, m, &struct{}{}); structs.KindOf(err) != structs.Unavailable {
			break // after another error it may have arrived, and it arrives at most once
		}
	}
	return err
}

// takeMessages takes messages of schedulers for executors on this node.
func (a *Agent) takeMessages() {
	node := a.client
	rpc.Handle(a.rpc, server.MessageMethod, func(_ context.Context, m *server.ExecutorMessage) (*struct{}, error) {
		e := node.Executor(m.Framework, m.Executor)
		a.executed.Message(e != nil)
		if e == nil {
			return nil, structs.Errorf(structs.NotFound, "executor "+m.Executor, "the node does not have it")
		}
		e.Message(m.Data)
		return &struct{}{}, nil
	})
}
