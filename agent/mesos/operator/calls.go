package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"net/http"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// CallPaths are those that Call answers.
var CallPaths = []string{"/api/v1", "/api/v1/", "/api/v1/operator", "/api/v1/operator/", "/master/api/v1", "/master/api/v1/"}

// Call answers one call of the operator API. The order of the checks is that of Mesos.
func (s *Servers) Call(w http.ResponseWriter, r *http.Request, who mesos.Caller) {
	mesos.Answer(w, r, s.call(w, r, who))
}

func (s *Servers) call(w http.ResponseWriter, r *http.Request, who mesos.Caller) error {
	leader, err := s.leader(r.Context(), w, r, "")
	if err != nil {
		return err
	}
	c := &wire.OperatorCall{}
	encoding, err := receive(w, r, "master", c)
	if err != nil {
		return err
	}
	if *c.Type == wire.OperatorSubscribe {
		return s.subscribe(w, r, encoding, c.Subscribe)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if do := s.changes()[*c.Type]; do != nil {
		if err := do(ctx, who, c); err != nil {
			return asAnswer(*c.Type, err)
		}
		if resourceOperation(*c.Type) {
			w.WriteHeader(http.StatusAccepted)
		} else {
			w.WriteHeader(http.StatusOK) // without a type: clients take it for no answer
		}
		return nil
	}
	answer, err := s.answer(ctx, leader, c)
	if err != nil {
		return err
	}
	reply(w, encoding, answer)
	return nil
}

// resourceOperation reports whether a call is one of the six that are answered 202.
func resourceOperation(t wire.OperatorCallType) bool {
	switch t {
	case wire.OperatorReserveResources, wire.OperatorUnreserveResources, wire.OperatorCreateVolumes, wire.OperatorDestroyVolumes,
		wire.OperatorGrowVolume, wire.OperatorShrinkVolume:
		return true
	}
	return false
}

// asAnswer gives an error of the region the status that the call has for it.
func asAnswer(t wire.OperatorCallType, err error) error {
	kind := structs.KindOf(err)
	switch {
	case kind == structs.NotFound && t == wire.OperatorMarkAgentGone:
		return mesos.Refuse(http.StatusNotFound, "%v", err)
	case kind == structs.NotFound, kind == structs.Invalid:
		return mesos.Refuse(http.StatusBadRequest, "%v", err)
	case kind == structs.Conflict:
		return mesos.Refuse(http.StatusConflict, "%v", err)
	}
	return err
}

// asked is how a call is answered that asks for something.
type asked struct {
	kind wire.OperatorResponseType
	self func(*About, *wire.OperatorResponse) // what a server knows of itself; nil: it is about the state
	of   func(*document, *wire.OperatorResponse)
}

// asks are those that are made of a state alone. They may be as large as it, so one is made at a time.
var asks = map[wire.OperatorCallType]asked{
	wire.OperatorGetHealth:       {wire.AnswerGetHealth, func(_ *About, out *wire.OperatorResponse) { out.Health = healthMessage() }, nil},
	wire.OperatorGetFlags:        {wire.AnswerGetFlags, func(a *About, out *wire.OperatorResponse) { out.Flags = flagsMessage(a.Flags) }, nil},
	wire.OperatorGetVersion:      {wire.AnswerGetVersion, func(_ *About, out *wire.OperatorResponse) { out.Version = versionMessage() }, nil},
	wire.OperatorGetLoggingLevel: {wire.AnswerGetLoggingLevel, func(a *About, out *wire.OperatorResponse) { out.LoggingLevel = levelMessage(a) }, nil},
	wire.OperatorGetOperations:   {wire.AnswerGetOperations, nil, func(d *document, out *wire.OperatorResponse) { out.Operations = d.getOperations() }},
	wire.OperatorGetMetrics:      {wire.AnswerGetMetrics, nil, func(d *document, out *wire.OperatorResponse) { out.Metrics = metricsMessage(d.metrics(true, now())) }},
	wire.OperatorGetState: {wire.AnswerGetState, nil, func(d *document, out *wire.OperatorResponse) {
		out.State = &wire.GetState{Tasks: d.getTasks(), Executors: d.getExecutors(), Frameworks: d.getFrameworks(d.offered), Agents: d.getAgents(d.offered)}
	}},
	wire.OperatorGetAgents:     {wire.AnswerGetAgents, nil, func(d *document, out *wire.OperatorResponse) { out.Agents = d.getAgents(d.offered) }},
	wire.OperatorGetFrameworks: {wire.AnswerGetFrameworks, nil, func(d *document, out *wire.OperatorResponse) { out.Frameworks = d.getFrameworks(d.offered) }},
	wire.OperatorGetExecutors:  {wire.AnswerGetExecutors, nil, func(d *document, out *wire.OperatorResponse) { out.Executors = d.getExecutors() }},
	wire.OperatorGetTasks:      {wire.AnswerGetTasks, nil, func(d *document, out *wire.OperatorResponse) { out.Tasks = d.getTasks() }},
	wire.OperatorGetRoles:      {wire.AnswerGetRoles, nil, func(d *document, out *wire.OperatorResponse) { out.Roles = d.getRoles() }},
	wire.OperatorGetWeights:    {wire.AnswerGetWeights, nil, func(d *document, out *wire.OperatorResponse) { out.Weights = d.getWeights() }},
	wire.OperatorGetQuota:      {wire.AnswerGetQuota, nil, func(d *document, out *wire.OperatorResponse) { out.Quota = d.getQuota() }},
	wire.OperatorGetMaster: {wire.AnswerGetMaster, nil, func(d *document, out *wire.OperatorResponse) {
		info := mesos.MasterInfo(d.leader)
		if info != nil {
			info.Domain = mesos.DomainOf(d.self.Region, d.self.Zone)
		}
		out.Master = &wire.GetMaster{Info: info, Started: new(float64(d.self.Started) / 1e9), Elected: new(float64(d.elected) / 1e9)}
	}},
	wire.OperatorGetMaintenanceSchedule: {wire.AnswerGetMaintenanceSchedule, nil, func(d *document, out *wire.OperatorResponse) { out.Schedule = d.getSchedule() }},
	wire.OperatorGetMaintenanceStatus: {wire.AnswerGetMaintenanceStatus, nil, func(d *document, out *wire.OperatorResponse) {
		out.Maintenance = maintenanceStatus(d.picture, d.maintenance)
	}},
}

// answer answers a call that asks for something.
func (s *Servers) answer(ctx context.Context, leader string, c *wire.OperatorCall) (*wire.OperatorResponse, error) {
	switch *c.Type {
	case wire.OperatorListFiles, wire.OperatorReadFile:
		return nil, mesos.Refuse(http.StatusNotFound, "A server has no files to show: 'proffer monitor' follows its log")
	}
	ask, served := asks[*c.Type]
	if !served {
		return nil, notServed(c.Type)
	}
	out := &wire.OperatorResponse{Type: new(ask.kind)}
	if ask.self != nil {
		ask.self(new(s.about()), out)
		return out, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d, _, err := s.document(ctx, leader)
	if err != nil {
		return nil, err
	}
	if *c.Type == wire.OperatorGetMaintenanceStatus {
		if d.maintenance, err = s.region.Maintenance(ctx); err != nil {
			return nil, err
		}
	}
	ask.of(d, out)
	return out, nil
}
