package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// The paths that changed something before there was the operator API. Each is one of its calls in another form.

// olderRequest is a request for one of them.
type olderRequest struct {
	to http.ResponseWriter
	*http.Request
	who    mesos.Caller
	leader string
	rest   string // of the path, behind its name
}

type olderMethods map[string]func(context.Context, *olderRequest) error

// olderPaths are what they do, by name and method.
func (s *Servers) olderPaths() map[string]olderMethods {
	volumes := func(kind wire.OperatorCallType, take func(*wire.OperatorCall, *wire.AgentVolumes)) olderMethods {
		return olderMethods{http.MethodPost: func(ctx context.Context, q *olderRequest) error {
			of := &wire.AgentVolumes{}
			return s.onAgent(ctx, q, kind, "volumes", of, func(c *wire.OperatorCall) { take(c, of) })
		}}
	}
	machines := func(kind wire.OperatorCallType, take func(*wire.OperatorCall, *wire.Machines)) olderMethods {
		return olderMethods{http.MethodPost: func(ctx context.Context, q *olderRequest) error {
			of, c := &wire.Machines{}, &wire.OperatorCall{Type: &kind}
			if err := q.list("machines", of); err != nil {
				return err
			}
			take(c, of)
			return s.change(ctx, q, c)
		}}
	}
	return map[string]olderMethods{
		"teardown": {http.MethodPost: s.olderTeardown},
		"reserve": {http.MethodPost: func(ctx context.Context, q *olderRequest) error {
			of := &wire.AgentReserve{}
			return s.onAgent(ctx, q, wire.OperatorReserveResources, "resources", of, func(c *wire.OperatorCall) { c.Reserve = of })
		}},
		"unreserve": {http.MethodPost: func(ctx context.Context, q *olderRequest) error {
			of := &wire.AgentUnreserve{}
			return s.onAgent(ctx, q, wire.OperatorUnreserveResources, "resources", of, func(c *wire.OperatorCall) { c.Unreserve = of })
		}},
		"create-volumes":  volumes(wire.OperatorCreateVolumes, func(c *wire.OperatorCall, of *wire.AgentVolumes) { c.Create = of }),
		"destroy-volumes": volumes(wire.OperatorDestroyVolumes, func(c *wire.OperatorCall, of *wire.AgentVolumes) { c.Destroy = of }),
		"machine/down":    machines(wire.OperatorStartMaintenance, func(c *wire.OperatorCall, of *wire.Machines) { c.StartMachines = of }),
		"machine/up":      machines(wire.OperatorStopMaintenance, func(c *wire.OperatorCall, of *wire.Machines) { c.StopMachines = of }),
		"maintenance/schedule": {
			http.MethodGet: s.shows(wire.OperatorGetMaintenanceSchedule, func(r *wire.OperatorResponse) []byte { return wire.JSON.Marshal(&r.Schedule.Schedule) }),
			http.MethodPost: func(ctx context.Context, q *olderRequest) error {
				plan := &wire.MaintenancePlan{}
				if err := q.message(&plan.Schedule); err != nil {
					return err
				}
				return s.change(ctx, q, &wire.OperatorCall{Type: new(wire.OperatorUpdateMaintenanceSchedule), UpdateSchedule: plan})
			}},
		"maintenance/status": {
			http.MethodGet: s.shows(wire.OperatorGetMaintenanceStatus, func(r *wire.OperatorResponse) []byte { return wire.JSON.Marshal(&r.Maintenance.Status) })},
		"quota": {
			http.MethodGet: s.shows(wire.OperatorGetQuota, func(r *wire.OperatorResponse) []byte { return wire.JSON.Marshal(&r.Quota.Status) }),
			http.MethodPost: func(ctx context.Context, q *olderRequest) error {
				set := &wire.SetQuota{}
				if err := q.message(&set.Request); err != nil {
					return err
				}
				return s.change(ctx, q, &wire.OperatorCall{Type: new(wire.OperatorSetQuota), SetQuota: set})
			},
			http.MethodDelete: func(ctx context.Context, q *olderRequest) error {
				if q.rest == "" {
					return invalid("Failed to parse request path '%.300s': Expecting '/quota/role'", q.URL.Path)
				}
				return s.change(ctx, q, &wire.OperatorCall{Type: new(wire.OperatorRemoveQuota), RemoveQuota: &wire.RemoveQuota{Role: q.rest}})
			}},
		"weights": {
			http.MethodGet: s.shows(wire.OperatorGetWeights, func(r *wire.OperatorResponse) []byte {
				var all [][]byte
				for i := range r.Weights.Weights {
					all = append(all, wire.JSON.Marshal(&r.Weights.Weights[i]))
				}
				return slices.Concat([]byte{'['}, bytes.Join(all, []byte{','}), []byte{']'})
			}),
			http.MethodPut: func(ctx context.Context, q *olderRequest) error {
				of := &wire.Weights{}
				if err := q.list("weight_infos", of); err != nil {
					return err
				}
				return s.change(ctx, q, &wire.OperatorCall{Type: new(wire.OperatorUpdateWeights), UpdateWeights: of})
			}},
	}
}

// OlderPaths are those that Older answers.
func (s *Servers) OlderPaths() []string {
	out := []string{"/quota/", "/master/quota/"} // with a role behind it
	for name := range s.older {
		out = append(out, "/"+name, "/master/"+name)
	}
	slices.Sort(out)
	return out
}

// Older answers a request for one of OlderPaths.
func (s *Servers) Older(w http.ResponseWriter, r *http.Request, who mesos.Caller) {
	mesos.Answer(w, r, s.serveOlder(w, r, who))
}

func (s *Servers) serveOlder(w http.ResponseWriter, r *http.Request, who mesos.Caller) error {
	leader, err := s.leader(r.Context(), w, r, "")
	if err != nil {
		return err
	}
	q := &olderRequest{to: w, Request: r, who: who, leader: leader}
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/master"), "/")
	if rest, ok := strings.CutPrefix(name, "quota/"); ok {
		name, q.rest = "quota", rest
	}
	methods := s.older[name]
	do := methods[r.Method]
	if q.rest != "" && r.Method != http.MethodDelete || do == nil {
		allowed := sorted(methods)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return mesos.Refuse(http.StatusMethodNotAllowed, "Expecting one of { '%s' }, but received '%s'", strings.Join(allowed, "', '"), r.Method)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	return do(ctx, q)
}

// change carries a call out.
func (s *Servers) change(ctx context.Context, q *olderRequest, c *wire.OperatorCall) error {
	if err := s.changes()[*c.Type](ctx, q.who, c); err != nil {
		return asAnswer(*c.Type, err)
	}
	status := http.StatusOK
	if resourceOperation(*c.Type) {
		status = http.StatusAccepted
	}
	q.to.WriteHeader(status)
	return nil
}

// shows answers with what a call is answered.
func (s *Servers) shows(kind wire.OperatorCallType, show func(*wire.OperatorResponse) []byte) func(context.Context, *olderRequest) error {
	return func(ctx context.Context, q *olderRequest) error {
		padding, err := paddingOf(q.Request)
		if err != nil {
			return err
		}
		answer, err := s.answer(ctx, q.leader, &wire.OperatorCall{Type: &kind})
		if err != nil {
			return err
		}
		raw := show(answer)
		b := newBody()
		b.end(true, raw)
		return padding.send(q.to, b)
	}
}

// form reads the body of a request as a form.
func (q *olderRequest) form() (url.Values, error) {
	raw, err := mesos.ReadBody(q.to, q.Request)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, invalid("Unable to decode query string: %v", err)
	}
	return values, nil
}

// message reads the body of a request as a message.
func (q *olderRequest) message(of any) error {
	raw, err := mesos.ReadBody(q.to, q.Request)
	if err != nil {
		return err
	}
	if err := wire.JSON.Unmarshal(raw, of); err != nil {
		return invalid("Failed to parse body as JSON: %v", err)
	}
	return nil
}

// list reads the body of a request as the list that a message has in a field.
func (q *olderRequest) list(field string, of any) error {
	raw, err := mesos.ReadBody(q.to, q.Request)
	if err != nil {
		return err
	}
	return listIn(raw, "body", `"`+field+`":`, of)
}

// listIn reads a list of JSON into a message, of which before is what comes before the list.
func listIn(raw []byte, what, before string, of any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte{'['}) || !json.Valid(raw) {
		return invalid("Failed to parse '%s' as a JSON array", what)
	}
	if err := wire.JSON.Unmarshal(slices.Concat([]byte{'{'}, []byte(before), raw, []byte{'}'}), of); err != nil {
		return invalid("Failed to parse '%s': %v", what, err)
	}
	return nil
}

// onAgent carries out a call about resources of an agent, which a form names by slaveId and in a list of JSON.
func (s *Servers) onAgent(ctx context.Context, q *olderRequest, kind wire.OperatorCallType, field string, of any, take func(*wire.OperatorCall)) error {
	values, err := q.form()
	if err != nil {
		return err
	}
	for _, name := range []string{"slaveId", field} {
		if !values.Has(name) {
			return invalid("Missing '%s' query parameter in the request body", name)
		}
	}
	agent, _ := json.Marshal(map[string]string{"value": values.Get("slaveId")}) // text always can be written
	if err := listIn([]byte(values.Get(field)), field, `"agent_id":`+string(agent)+`,"`+field+`":`, of); err != nil {
		return err
	}
	c := &wire.OperatorCall{Type: &kind}
	take(c)
	return s.change(ctx, q, c)
}

func (s *Servers) olderTeardown(ctx context.Context, q *olderRequest) error {
	values, err := q.form()
	if err != nil {
		return err
	}
	id := values.Get("frameworkId")
	if id == "" {
		return invalid("Missing 'frameworkId' query parameter in the request body")
	}
	return s.change(ctx, q, &wire.OperatorCall{Type: new(wire.OperatorTeardown), Teardown: &wire.Teardown{FrameworkID: wire.ID{Value: id}}})
}
