package operator

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/containers"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/structs"
)

// Client is what this API needs of a node.
type Client interface {
	// Node returns what the node is now; it is not to be changed.
	Node() *structs.Node
	// Connected returns the name of the server that the session is with, and whether there is one.
	Connected() (server string, ok bool)
	// Known returns the allocations that the node holds, oldest first, and behind them at most so many that ended, newest first.
	Known(ended int) []client.Known
	Find(structs.AllocID) (client.Known, error)
	Usage(ctx context.Context, each int) (*client.Usage, error)

	List(ctx context.Context, alloc structs.AllocID, name string) ([]client.File, error)
	Stat(ctx context.Context, alloc structs.AllocID, name string) (client.File, error)
	ReadFile(ctx context.Context, alloc structs.AllocID, name string, offset, limit int64, w io.Writer) error
	Output(alloc structs.AllocID, task, stream string) (client.Output, error)
	ReadOutput(alloc structs.AllocID, task, stream string, offset int64, p []byte) (from int64, n int, of client.Output, err error)

	// PruneImages removes the images that no task uses, but for those that keep names.
	PruneImages(ctx context.Context, keep []string) error

	// Figures returns what the node counted and measured.
	Figures() client.Figures
}

// ClientOptions is what this API is made of on a client.
type ClientOptions struct {
	Client  Client
	About   func() About        // asked at each request
	Verbose func(time.Duration) // has the log say more for so long; 0: no longer. Nil: it cannot
	Port    int                 // where it serves
	// Frameworks returns what the region knows of frameworks, of which the node has only ids; nil, or without some: only the ids are shown.
	Frameworks func(context.Context, []structs.FrameworkID) []*structs.Framework
	Containers *containers.Containers // those within tasks; nil: they are not served
	Counts     *mesos.ExecutorCounts  // of executors; nil: nobody counts
	Log        *slog.Logger
}

// Clients serves this API on a client: what Mesos calls an agent.
type Clients struct {
	ClientOptions
	views map[string]*clientView
}

// clientView is a document that tools poll.
type clientView struct {
	shared *shared
	write  func(context.Context, *Clients, *encoder) error
}

// NewClients returns the API of a client.
func NewClients(o ClientOptions) *Clients {
	c := &Clients{ClientOptions: o, views: map[string]*clientView{}}
	listed := func(ctx context.Context, c *Clients, e *encoder) error {
		l, used, err := c.used(ctx)
		if err == nil {
			l.list(e, l.containers(used, false, false))
		}
		return err
	}
	for name, write := range map[string]func(context.Context, *Clients, *encoder) error{
		"containers":         listed,
		"monitor/statistics": listed,
		"state": func(ctx context.Context, c *Clients, e *encoder) error {
			c.now(ctx).state(e)
			return nil
		},
	} {
		c.views[name] = &clientView{newShared(), write}
	}
	return c
}

// ClientCallPaths are those that Clients.Call answers.
var ClientCallPaths = []string{"/api/v1", "/api/v1/", "/api/v1/operator", "/api/v1/operator/", "/slave(1)/api/v1", "/slave(1)/api/v1/"}

// agentCall is how a client answers a call.
type agentCall struct {
	kind wire.AgentResponseType // of what is answered; AgentAnswerUnknown: nothing is
	do   func(c *Clients, ctx context.Context, call *wire.AgentCall, out *wire.AgentResponse) error
}

// agentCalls are those that a client answers.
var agentCalls = map[wire.AgentCallType]agentCall{
	wire.AgentGetHealth:       {wire.AgentAnswerGetHealth, (*Clients).getHealth},
	wire.AgentGetFlags:        {wire.AgentAnswerGetFlags, (*Clients).getFlags},
	wire.AgentGetVersion:      {wire.AgentAnswerGetVersion, (*Clients).getVersion},
	wire.AgentGetMetrics:      {wire.AgentAnswerGetMetrics, (*Clients).getMetrics},
	wire.AgentGetLoggingLevel: {wire.AgentAnswerGetLoggingLevel, (*Clients).getLevel},
	wire.AgentSetLoggingLevel: {wire.AgentAnswerUnknown, (*Clients).setLevel},
	wire.AgentGetAgent:        {wire.AgentAnswerGetAgent, (*Clients).getAgent},
	wire.AgentGetOperations:   {wire.AgentAnswerGetOperations, (*Clients).getOperations},
	wire.AgentGetState:        {wire.AgentAnswerGetState, (*Clients).getState},
	wire.AgentGetTasks:        {wire.AgentAnswerGetTasks, (*Clients).getTasks},
	wire.AgentGetExecutors:    {wire.AgentAnswerGetExecutors, (*Clients).getExecutors},
	wire.AgentGetFrameworks:   {wire.AgentAnswerGetFrameworks, (*Clients).getFrameworks},
	wire.AgentGetContainers:   {wire.AgentAnswerGetContainers, (*Clients).getContainers},
	wire.AgentListFiles:       {wire.AgentAnswerListFiles, (*Clients).listFiles},
	wire.AgentReadFile:        {wire.AgentAnswerReadFile, (*Clients).readFile},
	wire.AgentPruneImages:     {wire.AgentAnswerUnknown, (*Clients).pruneImages},

	wire.AgentGetResourceProviders:         {wire.AgentAnswerGetResourceProviders, (*Clients).getProviders},
	wire.AgentAddResourceProviderConfig:    {wire.AgentAnswerUnknown, pluginsAreJobs},
	wire.AgentUpdateResourceProviderConfig: {wire.AgentAnswerUnknown, pluginsAreJobs},
	wire.AgentRemoveResourceProviderConfig: {wire.AgentAnswerUnknown, pluginsAreJobs},
	wire.AgentMarkResourceProviderGone:     {wire.AgentAnswerUnknown, pluginsAreJobs},
}

// Call answers one call of the operator API of a client.
func (c *Clients) Call(w http.ResponseWriter, r *http.Request, who mesos.Caller) {
	mesos.Answer(w, r, c.call(w, r, who))
}

func (c *Clients) call(w http.ResponseWriter, r *http.Request, who mesos.Caller) error {
	if containers.Streamed(r) && c.Containers != nil {
		return c.Containers.Input(w, r)
	}
	call := &wire.AgentCall{}
	if err := take(w, r, "agent", call); err != nil {
		return err
	}
	if c.Containers != nil {
		if mine, err := c.Containers.Call(w, r, call, who); mine {
			return err
		}
	}
	encoding, err := mesos.Acceptable(r)
	if err != nil {
		return err
	}
	answer, served := agentCalls[*call.Type]
	if !served {
		return notServed(call.Type)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	out := &wire.AgentResponse{Type: new(answer.kind)}
	if err := answer.do(c, ctx, call, out); err != nil {
		return err
	}
	if answer.kind == wire.AgentAnswerUnknown {
		w.WriteHeader(http.StatusOK) // without a type: clients take it for no answer
		return nil
	}
	reply(w, encoding, out)
	return nil
}

func (c *Clients) getHealth(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Health = healthMessage()
	return nil
}

func (c *Clients) getFlags(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Flags = flagsMessage(c.About().Flags)
	return nil
}

func (c *Clients) getVersion(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Version = versionMessage()
	return nil
}

func (c *Clients) getMetrics(ctx context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Metrics = metricsMessage(c.metrics(ctx))
	return nil
}

func (c *Clients) getLevel(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.LoggingLevel = levelMessage(new(c.About()))
	return nil
}

func (c *Clients) setLevel(_ context.Context, call *wire.AgentCall, _ *wire.AgentResponse) error {
	return setLevel(c.Verbose, call.SetLoggingLevel)
}

func (c *Clients) getAgent(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	info := agentInfo(c.Client.Node(), c.About().Region)
	info.Port = new(int32(c.Port))
	out.Agent = &wire.GetAgent{Info: &info}
	return nil
}

func (c *Clients) getOperations(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Operations = &wire.GetOperations{} // they are the region's
	return nil
}

func (c *Clients) getState(ctx context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	l := c.now(ctx)
	out.State = &wire.GetAgentState{Tasks: l.getTasks(), Executors: l.getExecutors(), Frameworks: l.getFrameworks()}
	return nil
}

func (c *Clients) getTasks(ctx context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Tasks = c.now(ctx).getTasks()
	return nil
}

func (c *Clients) getExecutors(ctx context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Executors = c.now(ctx).getExecutors()
	return nil
}

func (c *Clients) getFrameworks(ctx context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Frameworks = c.now(ctx).getFrameworks()
	return nil
}

func (c *Clients) getContainers(ctx context.Context, call *wire.AgentCall, out *wire.AgentResponse) error {
	l, used, err := c.used(ctx)
	if err != nil {
		return err
	}
	wanted := func(b *bool) bool { return b != nil && *b }
	ask := cmp.Or(call.GetContainers, &wire.AskContainers{})
	out.Containers = &wire.GetContainers{Containers: l.containers(used, wanted(ask.Nested), wanted(ask.Standalone))}
	return nil
}

func (c *Clients) listFiles(ctx context.Context, call *wire.AgentCall, out *wire.AgentResponse) error {
	files, err := c.list(ctx, call.ListFiles.Path)
	out.ListFiles = &wire.FileInfos{Files: files}
	return err
}

func (c *Clients) readFile(ctx context.Context, call *wire.AgentCall, out *wire.AgentResponse) error {
	q := call.ReadFile
	length := uint64(mostRead)
	if q.Length != nil {
		length = min(length, *q.Length)
	}
	if q.Offset > math.MaxInt64 {
		return mesos.Refuse(http.StatusBadRequest, "Invalid offset '%d'", q.Offset)
	}
	_, size, data, err := c.read(ctx, q.Path, int64(q.Offset), int(length))
	out.ReadFile = &wire.FileData{Size: uint64(size), Data: data}
	return err
}

// used looks at the node, and at what its tasks use.
func (c *Clients) used(ctx context.Context) (*local, *client.Usage, error) {
	used, err := c.Client.Usage(ctx, mostContainers)
	if err != nil {
		return nil, nil, err
	}
	return c.now(ctx), used, nil
}

func (c *Clients) metrics(ctx context.Context) figures {
	_, registered := c.Client.Connected()
	f := c.at(ctx, 0).metrics(registered, now(), c.Client.Figures())
	f.executors(c.Counts)
	return f
}
