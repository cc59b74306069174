package structs

import "fmt"

// Slack is what of a node's cores and memory is reserved by its tasks and, as far as the node can tell, not used by them. A
// second pool of the node is made of it, for work that gives it back first: what is revocable.
type Slack struct {
	CPU    Milli `json:"cpu"`
	Memory Bytes `json:"memory"`
}

// IsZero reports whether s is nothing.
func (s Slack) IsZero() bool { return s == Slack{} }

// Add returns s + o, Sub s - o, which may be negative.
func (s Slack) Add(o Slack) Slack { return Slack{s.CPU + o.CPU, s.Memory + o.Memory} }
func (s Slack) Sub(o Slack) Slack { return Slack{s.CPU - o.CPU, s.Memory - o.Memory} }

// Beyond returns what s has of each more than o.
func (s Slack) Beyond(o Slack) Slack {
	return Slack{max(s.CPU-max(o.CPU, 0), 0), max(s.Memory-max(o.Memory, 0), 0)}
}

// Within reports whether s is at most o.
func (s Slack) Within(o Slack) bool { return s.CPU <= o.CPU && s.Memory <= o.Memory }

func (s Slack) String() string {
	if s.IsZero() {
		return "nothing"
	}
	return Resources{CPU: s.CPU, Memory: s.Memory}.String()
}

// Slack returns the cores and the memory of r.
func (r Resources) Slack() Slack { return Slack{r.CPU, r.Memory} }

// SlackStatus says how a node stands with its slack.
type SlackStatus struct {
	Node    NodeID `json:"node"`
	Name    string `json:"node_name"`
	Known   bool   `json:"known"`   // the node said in its session what it does not use
	Size    Slack  `json:"size"`    // that it said
	Held    Slack  `json:"held"`    // by what is revocable
	Leaving Slack  `json:"leaving"` // of that: by what is being stopped
}

func (s *SlackStatus) String() string {
	text := "not known"
	if s.Known {
		text = s.Size.String()
	}
	text = fmt.Sprintf("reserved and not used: %s; revocable work holds %s", text, s.Held)
	if !s.Leaving.IsZero() {
		text += fmt.Sprintf(", and gives back %s of it", s.Leaving)
	}
	return text
}

// Less returns r without s.
func (r Resources) Less(s Slack) Resources {
	r.CPU -= s.CPU
	r.Memory -= s.Memory
	return r
}

// Amount returns s; nothing when it is nil.
func (s *Slack) Amount() Slack {
	if s == nil {
		return Slack{}
	}
	return *s
}

// OfSlack returns what a has of the slack of its node; nothing when it is not revocable.
func (a *Allocation) OfSlack() Slack { return a.Revocable.Amount() }

// Booked returns what a holds of its node's own room: all that it has, but for what is of the slack.
func (a *Allocation) Booked() Resources { return a.Resources.Less(a.OfSlack()) }
