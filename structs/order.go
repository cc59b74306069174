package structs

import (
	"fmt"
	"strings"
)

// Turn is where something that waits stands in the order of service: what is served before it if there is room for all
// that waits.
type Turn struct {
	At    int      `json:"at"`              // 1: it is next; 0: never, see Held
	More  bool     `json:"more,omitempty"`  // it is At or later: no further was counted
	Held  string   `json:"held,omitempty"`  // the role whose bounds are used up by what comes before it
	Ahead []*Ahead `json:"ahead,omitempty"` // what comes before it: higher bands first, then most slots first
	Ranks []*Rank  `json:"ranks,omitempty"` // why: from the top of the tree down to the framework
}

// Ahead is what of one band and role comes before something.
type Ahead struct {
	Band   Band   `json:"band"`            // as it is served
	Role   string `json:"role"`            // empty: of roles that are not listed
	Slots  int    `json:"slots"`           // a gang counts as one
	Gangs  int    `json:"gangs,omitempty"` // of Slots
	CPU    Milli  `json:"cpu"`
	Memory Bytes  `json:"memory"`
}

// MostAhead bounds Turn.Ahead; the rest is added up in a last one of each band.
const MostAhead = 8

// Rank is where a role or a framework stands among its siblings of which something waits in the same band. The smallest
// share for its weight is served first; of equal ones, who was served longest ago.
type Rank struct {
	Name   string `json:"name"`
	Share  Milli  `json:"share"` // of the region, before the weight
	Weight Milli  `json:"weight"`
	Sorter string `json:"sorter,omitempty"` // fifo or random, when they do not take turns by share
	At     int    `json:"at"`               // 1: it is the first
	Of     int    `json:"of"`               // that wait
	Behind string `json:"behind,omitempty"` // the one right before it
	// Share and weight of Behind.
	BehindShare  Milli `json:"behind_share,omitempty"`
	BehindWeight Milli `json:"behind_weight,omitempty"`
}

// String tells it in one line: "eng has 0.31 of the region at weight 2 and is 2nd of 3 that wait, behind research (0.05 at
// weight 1)".
func (r *Rank) String() string {
	text := fmt.Sprintf("%s has %s of the region at weight %s", r.Name, r.Share, r.Weight)
	switch {
	case r.Of <= 1:
		return text + " and waits alone"
	case r.Sorter == "random":
		return fmt.Sprintf("%s and takes turns by chance with %d that wait", text, r.Of-1)
	case r.Sorter == "fifo" && r.Behind == "":
		return fmt.Sprintf("%s and has the oldest work of %d that wait", text, r.Of)
	case r.Sorter == "fifo":
		return fmt.Sprintf("%s and is number %d of %d that wait, by the age of their work, behind %s", text, r.At, r.Of, r.Behind)
	case r.Behind == "":
		return fmt.Sprintf("%s and is first of %d that wait", text, r.Of)
	}
	return fmt.Sprintf("%s and is number %d of %d that wait, behind %s (%s at weight %s)", text, r.At, r.Of, r.Behind, r.BehindShare, r.BehindWeight)
}

// String tells it in a few lines; no line break at the end.
func (t *Turn) String() string {
	var b strings.Builder
	before := 0
	for _, a := range t.Ahead {
		before += a.Slots
	}
	switch {
	case t.Held != "":
		fmt.Fprintf(&b, "no place in the order: what comes before it uses up the bounds of role %s", t.Held)
	case t.At == 1:
		b.WriteString("next in the order")
	case t.More:
		fmt.Fprintf(&b, "place %d or later in the order", t.At)
	default:
		fmt.Fprintf(&b, "place %d in the order", t.At)
	}
	if before > 0 {
		fmt.Fprintf(&b, "; before it:")
	}
	for _, a := range t.Ahead {
		fmt.Fprintf(&b, "\n  %s", a)
	}
	return b.String()
}

// String tells it in one line: "12 of production in eng/web (cpu 24, memory 48GiB)".
func (a *Ahead) String() string {
	role := "in other roles"
	if a.Role != "" {
		role = "in " + a.Role
	}
	gangs := ""
	switch {
	case a.Gangs == 1 && a.Slots == 1:
		gangs = "a gang, "
	case a.Gangs == 1:
		gangs = "one of them a gang, "
	case a.Gangs > 1:
		gangs = fmt.Sprintf("%d of them gangs, ", a.Gangs)
	}
	return fmt.Sprintf("%d of %s %s (%s%s)", a.Slots, a.Band, role, gangs, Resources{CPU: a.CPU, Memory: a.Memory})
}

// Expected is when something that waits has room at the latest, as far as that is known.
type Expected struct {
	At       Time   `json:"at,omitempty"` // zero: unknown
	Node     NodeID `json:"node,omitempty"`
	NodeName string `json:"node_name,omitempty"`
	Why      string `json:"why"` // of At, or why it is unknown
}

// String tells it in one line.
func (e *Expected) String() string {
	if e.At == 0 {
		return "unknown: " + e.Why
	}
	return fmt.Sprintf("by %s on node %s: %s", e.At.Std().Format("2006-01-02 15:04:05"), e.NodeName, e.Why)
}

// RoleStanding is how a role stands: its share, what it may have, has and wants, and its place among its siblings. All is
// with the roles below it, and with what is decided and not yet committed, or offered.
type RoleStanding struct {
	Role       string               `json:"role"`
	State      string               `json:"state,omitempty"`
	Weight     Milli                `json:"weight"`
	Share      Milli                `json:"share"`             // of the region, before the weight
	Waiting    int                  `json:"waiting"`           // slots of requests
	Band       string               `json:"band,omitempty"`    // the highest in which something of it waits for its turn
	Rank       *Rank                `json:"rank,omitempty"`    // among its siblings, in that band
	Blocked    string               `json:"blocked,omitempty"` // all that waits in it does so for this role's bounds
	Used       Resources            `json:"used"`
	Guarantee  *QuotaAmount         `json:"guarantee,omitempty"`
	Limit      *QuotaAmount         `json:"limit,omitempty"`
	Running    int                  `json:"running"` // allocations, decided ones too
	MaxRunning int                  `json:"max_running,omitempty"`
	Frameworks []*FrameworkStanding `json:"frameworks"` // of this very role
}

// FrameworkStanding is how a framework stands in a role.
type FrameworkStanding struct {
	Framework FrameworkID `json:"framework"`
	Owner     string      `json:"owner,omitempty"` // of its work, where the role is shared by owner
	Share     Milli       `json:"share"`           // of the region
	Running   int         `json:"running"`
	Offers    int         `json:"offers"`
	Waiting   int         `json:"waiting"`
	Used      Resources   `json:"used"`
}
