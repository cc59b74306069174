package structs

// Framework is a scheduler that gets resources for one or more roles: external, or built in.
type Framework struct {
	ID    FrameworkID `json:"id"`
	Name  string      `json:"name"`
	User  string      `json:"user,omitempty"`
	Roles []string    `json:"roles,omitempty"`
	// Terms is what it says of offers, by role; roles without any have none.
	Terms           map[string]*OfferTerms `json:"terms,omitempty"`
	BuiltIn         bool                   `json:"built_in"`
	FailoverTimeout Duration               `json:"failover_timeout,omitempty"`
	Connected       bool                   `json:"connected"`
	Since           Time                   `json:"since"` // of Connected
	Hoarding        *Hoarding              `json:"hoarding,omitempty"`
	CreateIndex     uint64                 `json:"create_index"`
	ModifyIndex     uint64                 `json:"modify_index"`
}
