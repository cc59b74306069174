package structs

import "fmt"

// Offer is resources of one node held for one framework and role until Expires. Offers are soft state of the leader.
type Offer struct {
	ID        OfferID         `json:"id"`
	Framework FrameworkID     `json:"framework"`
	Role      string          `json:"role"`
	Node      NodeID          `json:"node"`
	NodeName  string          `json:"node_name"`
	Resources Resources       `json:"resources"`
	Reserved  []*ReservedPart `json:"reserved,omitempty"` // what of Resources is reserved for the role, or one above
	// Revocable: CPU and memory are what others have reserved and do not use. They may be taken back at any time. Nothing else is
	// in such an offer.
	Revocable bool `json:"revocable,omitempty"`
	Made      Time `json:"made"`
	Expires   Time `json:"expires"`
	// Unavailable is when the node will not be there, if that is known.
	Unavailable *Window `json:"unavailable,omitempty"`
}

// Text says what is offered.
func (o *Offer) Text() string {
	if o.Revocable {
		return o.Resources.String() + ", revocable"
	}
	return o.Resources.String()
}

// OfferTerms is what a framework says of the offers in one of its roles.
type OfferTerms struct {
	// Suppressed: it gets none until it revives the role.
	Suppressed bool `json:"suppressed,omitempty"`
	// Revocable: it is also offered what is reserved on nodes and not used, in offers of its own, in the best-effort band.
	Revocable bool `json:"revocable,omitempty"`
	// Smallest bundles: an offer has all that at least one of them names. Empty: what the servers' configuration says.
	Smallest []*QuotaAmount `json:"smallest,omitempty"`
	// Where are groups of constraints: a node is offered when it meets every constraint of at least one group. Empty: any
	// node. The distinct ones have no meaning here.
	Where [][]*Constraint `json:"where,omitempty"`
	// Without are custom resources: nodes that have any of them are left to others, such as nodes with GPUs.
	Without []string `json:"without,omitempty"`
}

// Bounds of what terms may say.
const (
	MaxSmallest = 16 // bundles
	MaxWhere    = 64 // constraints, of all groups together
)

// CheckSmallest adds what is wrong with smallest bundles.
func CheckSmallest(p *Problems, at string, bundles []*QuotaAmount) {
	if len(bundles) > MaxSmallest {
		p.Add(at, "%d bundles are more than %d", len(bundles), MaxSmallest)
	}
	for i, b := range bundles {
		object := fmt.Sprintf("%s[%d]", at, i)
		names := false
		for _, amount := range b.All() {
			names = names || amount > 0
		}
		if !names {
			p.Add(object, "it names no amount above 0, so that an offer could be empty")
		}
		b.problems(p, object)
	}
}

// Hoarding says that a framework lets offers end without an answer.
type Hoarding struct {
	Since   Time `json:"since"`
	Ignored int  `json:"ignored"` // offers in a row, when it was noticed
	Held    int  `json:"held"`    // outstanding offers, when it was noticed
}

// OfferStatus says how a framework stands with offers, since it connected to the present leader.
type OfferStatus struct {
	Framework   FrameworkID   `json:"framework"`
	Outstanding int           `json:"outstanding"`
	Held        Resources     `json:"held"`     // by the outstanding ones
	Share       Milli         `json:"share"`    // the largest part of any resource of the region that they hold
	Full        bool          `json:"full"`     // as much as it may have is outstanding: it gets more when it answers
	Hoarding    bool          `json:"hoarding"` // it lets offers end without an answer
	Ignored     int           `json:"ignored"`  // offers in a row that ended without an answer
	Unused      int           `json:"unused"`   // offers in a row of which it used nothing
	Offered     uint64        `json:"offered"`
	Accepted    uint64        `json:"accepted"` // and something of them used
	Declined    uint64        `json:"declined"`
	Expired     uint64        `json:"expired"`
	Rescinded   uint64        `json:"rescinded"`
	Last        *LastOffer    `json:"last,omitempty"` // that ended
	Roles       []*RoleOffers `json:"roles"`
}

// LastOffer is how the last offer to a framework ended.
type LastOffer struct {
	Time      Time      `json:"time"`
	End       string    `json:"end"` // used, declined, expired or rescinded
	NodeName  string    `json:"node_name"`
	Role      string    `json:"role"`
	Resources Resources `json:"resources"` // that were offered
}

// RoleOffers says how offers to a framework stand in one of its roles, and why it does not see nodes.
type RoleOffers struct {
	Role        string         `json:"role"`
	Outstanding int            `json:"outstanding"`
	Suppressed  bool           `json:"suppressed"`             // by the framework
	Limit       string         `json:"limit,omitempty"`        // the role whose limit leaves too little for an offer
	NoPrincipal bool           `json:"no_principal,omitempty"` // that is because it has a user_limit, and the framework no principal
	Revocable   string         `json:"revocable,omitempty"`    // what there is of that for it, when it takes it
	Nodes       int            `json:"nodes"`                  // all that are known
	Hidden      []*HiddenNodes `json:"hidden"`                 // most nodes first; a node may be counted under several
}

// HiddenNodes is one reason why nodes are not offered.
type HiddenNodes struct {
	Why   string `json:"why"`
	Nodes int    `json:"nodes"`
	On    string `json:"on"`              // the name of one of them
	Until Time   `json:"until,omitempty"` // of what was declined: when the first of them may be offered again
}
