package structs

import "time"

// Window is a time in which a node is not available.
type Window struct {
	Start    Time     `json:"start"`
	Duration Duration `json:"duration,omitempty"` // 0: until an operator ends it
}

// End returns when w ends; zero when it has no end.
func (w Window) End() Time {
	if w.Duration == 0 {
		return 0
	}
	return w.Start.Add(w.Duration)
}

// Outlasts reports whether work that is started now and runs for at most run (0: for ever) would still run when w starts.
func (w Window) Outlasts(now Time, run Duration) bool { return run == 0 || now.Add(run) > w.Start }

// Maintenance is a window for which a node is emptied. Until it begins, work goes there only when it ends in time or fits
// nowhere else.
type Maintenance struct {
	Window
	Drain  Duration `json:"drain,omitempty"` // how long before Start the work is moved away; what is left at Start is stopped
	Reason string   `json:"reason,omitempty"`

	// Set by the servers.
	Began    bool `json:"began"`    // the node is being emptied for it, or is down
	Eligible bool `json:"eligible"` // the node took work before it began, and will when it has ended
}

// Begins returns when the node begins to be emptied.
func (m *Maintenance) Begins() Time { return m.Start.Add(-m.Drain) }

// Problems lists what is wrong with m at a time.
func (m *Maintenance) Problems(now Time) Problems {
	var p Problems
	const day = Duration(24 * time.Hour)
	if m.Start <= 0 {
		p.Add("start", "it is missing")
	} else if m.Start > 1<<62 {
		p.Add("start", "%s is too far away", m.Start)
	}
	if m.Duration < 0 || m.Duration > 365*day {
		p.Add("duration", "%s is out of range (0s to 8760h; 0s: until it is ended)", m.Duration)
	} else if end := m.End(); m.Start > 0 && !end.IsZero() && end <= now {
		p.Add("start", "the window would be over already: it ends at %s", end)
	}
	if m.Drain < 0 || m.Drain > 30*day {
		p.Add("drain", "%s is out of range (0s to 720h)", m.Drain)
	}
	if len(m.Reason) > 1024 {
		p.Add("reason", "it is longer than 1024 bytes")
	}
	return p
}

// InverseOffer asks a framework to move its work off a node before a window, and says what it answered. The answer is
// advice: at the start of the window the work is stopped whatever it was. Inverse offers are soft state of the leader.
type InverseOffer struct {
	ID          OfferID     `json:"id"`
	Framework   FrameworkID `json:"framework"`
	Node        NodeID      `json:"node"`
	NodeName    string      `json:"node_name"`
	Unavailable Window      `json:"unavailable"`
	Resources   Resources   `json:"resources"` // what the framework holds on the node, when it was asked
	Made        Time        `json:"made"`
	Answer      string      `json:"answer"`             // pending, accepted or declined: the last one
	Answered    Time        `json:"answered,omitempty"` // when
}

// Answers to an inverse offer.
const (
	InversePending  = "pending"
	InverseAccepted = "accepted"
	InverseDeclined = "declined"
)

// NodeMaintenance is a node with a window, and what the frameworks that run work there say.
type NodeMaintenance struct {
	Node        NodeID          `json:"node"`
	NodeName    string          `json:"node_name"`
	Maintenance Maintenance     `json:"maintenance"`
	State       string          `json:"state"`       // scheduled, draining or down
	Allocations int             `json:"allocations"` // on the node that have not ended
	Answers     []*InverseOffer `json:"answers"`     // of external frameworks
}

// States of maintenance.
const (
	MaintenanceScheduled = "scheduled"
	MaintenanceDraining  = "draining"
	MaintenanceDown      = "down"
)

// State returns where m is, of a node that holds so many allocations.
func (m *Maintenance) State(allocations int) string {
	switch {
	case !m.Began:
		return MaintenanceScheduled
	case allocations > 0:
		return MaintenanceDraining
	}
	return MaintenanceDown
}
