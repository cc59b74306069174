package structs

// Framework is a scheduler that gets resources for one or more roles: external, or built in.
type Framework struct {
	ID              FrameworkID `json:"id"`
	Name            string      `json:"name"`
	User            string      `json:"user,omitempty"`
	Roles           []string    `json:"roles,omitempty"`
	BuiltIn         bool        `json:"built_in"`
	FailoverTimeout Duration    `json:"failover_timeout,omitempty"`
	Connected       bool        `json:"connected"`
	Since           Time        `json:"since"` // of Connected
	CreateIndex     uint64      `json:"create_index"`
	ModifyIndex     uint64      `json:"modify_index"`
}

// Offer is resources of one node held for one framework and role until Expires. Offers are soft state of the leader.
type Offer struct {
	ID        OfferID         `json:"id"`
	Framework FrameworkID     `json:"framework"`
	Role      string          `json:"role"`
	Node      NodeID          `json:"node"`
	NodeName  string          `json:"node_name"`
	Resources Resources       `json:"resources"`
	Reserved  []*ReservedPart `json:"reserved,omitempty"` // what of Resources is reserved for the role, or one above
	Made      Time            `json:"made"`
	Expires   Time            `json:"expires"`
}
