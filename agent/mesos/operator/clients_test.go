package operator

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/structs"
)

// machine is a node that is asked.
type machine struct {
	Client
	t        *testing.T
	known    []client.Known
	used     client.Usage
	files    map[string]string
	about    About
	verbose  time.Duration // as it was asked for last
	plugins  map[string]*structs.NodePlugin
	reserved map[string]*structs.Resources // of the node, for roles
	pruned   int                           // how often images were removed
	kept     []string                      // by the last time
	figures  client.Figures
}

func (m *machine) PruneImages(_ context.Context, keep []string) error {
	m.pruned, m.kept = m.pruned+1, keep
	return nil
}

func (m *machine) Node() *structs.Node {
	return &structs.Node{ID: "n1", Name: "one", Hosts: []string{"10.0.0.1"}, Resources: structs.Resources{CPU: 4000, Memory: 8 << 30, Disk: 100 << 30},
		PortRange: structs.Range{First: 31000, Last: 32000}, Datacenter: "dc2", Meta: map[string]string{"rack": "r1"}, Plugins: m.plugins, ReservedFor: m.reserved}
}

func (m *machine) Figures() client.Figures { return m.figures }

func (m *machine) Connected() (string, bool) { return "s1", true }

func (m *machine) Known(int) []client.Known { return m.known }

func (m *machine) Find(id structs.AllocID) (client.Known, error) {
	for _, k := range m.known {
		if k.Alloc.ID == id {
			return k, nil
		}
	}
	return client.Known{}, structs.Errorf(structs.NotFound, string(id), "the node does not have it")
}

func (m *machine) Usage(context.Context, int) (*client.Usage, error) { return &m.used, nil }

func (m *machine) clients() *Clients {
	m.about = About{Region: "global", Name: "one", Version: "0.1", Started: structs.Time(1e9), LogLevel: "info", Flags: map[string]string{"region": "global"}}
	return NewClients(ClientOptions{Client: m, About: func() About { return m.about }, Verbose: func(long time.Duration) { m.verbose = long }, Port: 5099,
		Log: slog.New(slog.DiscardHandler)})
}

// call sends a call and demands a status, and what a refusal says.
func (m *machine) call(c *Clients, encoding wire.Encoding, call *wire.AgentCall, status int, why string) *wire.AgentResponse {
	m.t.Helper()
	r := httptest.NewRequestWithContext(m.t.Context(), http.MethodPost, "/api/v1", strings.NewReader(string(encoding.Marshal(call))))
	r.Header.Set("Content-Type", encoding.ContentType())
	r.Header.Set("Accept", encoding.ContentType())
	w := httptest.NewRecorder()
	c.Call(w, r, mesos.Caller{Actor: "local"})
	raw, _ := io.ReadAll(w.Body)
	if w.Code != status || !strings.Contains(string(raw), why) {
		m.t.Fatalf("%s: %d %q, want %d with %q", wire.JSON.Marshal(call), w.Code, raw, status, why)
	}
	kind := w.Header().Get("Content-Type")
	if status != http.StatusOK || len(raw) == 0 {
		if status == http.StatusOK && kind != "" {
			m.t.Errorf("%s is answered with nothing, of type %q", wire.JSON.Marshal(call), kind)
		}
		return nil
	}
	out := &wire.AgentResponse{}
	if err := encoding.Unmarshal(raw, out); err != nil || kind != encoding.ContentType() {
		m.t.Fatalf("%s: %q: %v", wire.JSON.Marshal(call), kind, err)
	}
	return out
}

// ask sends a call that has no payload.
func (m *machine) ask(c *Clients, encoding wire.Encoding, kind wire.AgentCallType) *wire.AgentResponse {
	m.t.Helper()
	out := m.call(c, encoding, &wire.AgentCall{Type: &kind}, http.StatusOK, "")
	if out.Type == nil || out.Type.String() != kind.String() {
		m.t.Errorf("%s is answered with %v", kind, out.Type)
	}
	return out
}

// What is said of the agent itself, in both encodings.
func TestAgentCalls(t *testing.T) {
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		m := &machine{t: t}
		c := m.clients()
		if h := m.ask(c, encoding, wire.AgentGetHealth).Health; h == nil || !h.Healthy {
			t.Errorf("the health is %v", h)
		}
		if v := m.ask(c, encoding, wire.AgentGetVersion).Version; v == nil || v.Info.Version != "1.11.0" {
			t.Errorf("the version is %v", v)
		}
		if f := m.ask(c, encoding, wire.AgentGetFlags).Flags; len(f.Flags) != 1 || f.Flags[0].Name != "region" || *f.Flags[0].Value != "global" {
			t.Errorf("the flags are %v", f)
		}
		a := m.ask(c, encoding, wire.AgentGetAgent).Agent
		if a.Info.ID.Value != "n1" || a.Info.Hostname != "10.0.0.1" || *a.Info.Port != 5099 || a.Info.Attributes[0].Text.Value != "r1" || len(a.Info.Resources) != 4 {
			t.Errorf("the agent is %s", wire.JSON.Marshal(a))
		}
		figures := map[string]float64{}
		for _, x := range m.ask(c, encoding, wire.AgentGetMetrics).Metrics.Metrics {
			figures[x.Name] = *x.Value
		}
		if figures["slave/registered"] != 1 || figures["slave/cpus_total"] != 4 || figures["slave/uptime_secs"] <= 0 {
			t.Errorf("the metrics are %v", figures)
		}
		if l := m.ask(c, encoding, wire.AgentGetLoggingLevel).LoggingLevel; l.Level != 0 {
			t.Errorf("the level is %v", l)
		}
		m.about.LogLevel = "debug"
		if l := m.ask(c, encoding, wire.AgentGetLoggingLevel).LoggingLevel; l.Level != 1 {
			t.Errorf("the level is %v", l)
		}
		level := func(level uint32, long time.Duration) *wire.AgentCall {
			return &wire.AgentCall{Type: new(wire.AgentSetLoggingLevel), SetLoggingLevel: &wire.SetLoggingLevel{Level: level, Duration: wire.DurationInfo{Nanoseconds: int64(long)}}}
		}
		m.call(c, encoding, level(1, time.Minute), 200, "")
		if m.verbose != time.Minute {
			t.Errorf("the log says more for %v", m.verbose)
		}
		m.call(c, encoding, level(2, time.Minute), 400, "Invalid level")
		m.call(c, encoding, level(1, -1), 400, "Invalid duration")
		m.call(c, encoding, level(1, 25*time.Hour), 400, "Invalid duration")
		if m.verbose != time.Minute {
			t.Errorf("a bad call changed it to %v", m.verbose)
		}
		m.call(c, encoding, level(0, time.Minute), 200, "")
		if m.verbose != 0 {
			t.Errorf("the log says more for %v", m.verbose)
		}
		m.call(c, encoding, &wire.AgentCall{}, 400, "Failed to validate agent::Call: Expecting 'type' to be present")
		m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentSetLoggingLevel)}, 400, "'set_logging_level' to be present")
		m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentKillContainer)}, 400, "'kill_container' to be present")
		m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentUnknown)}, 501, "")
	}
}
