package structs

import (
	"slices"
	"strings"
)

// Framework is a scheduler that gets resources for one or more roles: external, or built in.
type Framework struct {
	ID    FrameworkID `json:"id"`
	Name  string      `json:"name"`
	User  string      `json:"user,omitempty"` // whom its tasks run as when they do not say; it never changes
	Roles []string    `json:"roles,omitempty"`
	// Terms is what it says of offers, by role; roles without any have none.
	Terms     map[string]*OfferTerms `json:"terms,omitempty"`
	BuiltIn   bool                   `json:"built_in"`
	Principal string                 `json:"principal,omitempty"` // who it says it is, and whose its work is, for user_limit; it never changes once it is set
	Hostname  string                 `json:"hostname,omitempty"`  // where its scheduler says it runs
	WebURL    string                 `json:"web_url,omitempty"`
	Labels    map[string]string      `json:"labels,omitempty"` // for people and tools
	// Capabilities are what it said it understands, sorted; see the constants.
	Capabilities []string `json:"capabilities,omitempty"`
	// Checkpoint is what it said of its executors and their agent's restarts; it never changes. Executors live on whatever it says.
	Checkpoint bool `json:"checkpoint,omitempty"`
	// FailoverTimeout is how long it may be away before it is removed with all that it runs.
	FailoverTimeout Duration  `json:"failover_timeout,omitempty"`
	Connected       bool      `json:"connected"`
	Since           Time      `json:"since"` // of Connected
	Hoarding        *Hoarding `json:"hoarding,omitempty"`
	// Connection names the subscription that is connected; empty without one.
	Connection string `json:"connection,omitempty"`
	// Until is when it is removed unless it subscribes again; zero: it is connected, or has no such time.
	Until Time `json:"until,omitempty"`
	// Ended is when it was removed; zero: it was not. Its id is not taken again for as long as it is remembered.
	Ended    Time   `json:"ended,omitempty"`
	EndedWhy string `json:"ended_why,omitempty"`
	// Stated is the index at which it last said what it is and what it wants.
	Stated      uint64 `json:"stated,omitempty"`
	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Capabilities of frameworks, as in Mesos.
const (
	CanUseRevocable      = "REVOCABLE_RESOURCES"
	CanSeeKilling        = "TASK_KILLING_STATE"
	CanUseGPUs           = "GPU_RESOURCES"
	CanShare             = "SHARED_RESOURCES"
	CanSeePartitions     = "PARTITION_AWARE"
	CanHaveRoles         = "MULTI_ROLE"
	CanRefineReservation = "RESERVATION_REFINEMENT"
	CanSeeRegions        = "REGION_AWARE"
)

// Can reports whether f said that it has a capability.
func (f *Framework) Can(capability string) bool { return slices.Contains(f.Capabilities, capability) }

// Bounds of what a framework says of itself.
const (
	MaxFrameworkRoles  = 256
	MaxFrameworkText   = 1024     // bytes of its name, user, principal, host name and URL, each
	MaxFrameworkLabels = 16 << 10 // bytes of the names and values of its labels together
	MaxFailover        = Duration(10 * 365 * 24 * 3600e9)
)

// Problems returns what is wrong with what f says of itself, all at once. Its terms are the allocator's to judge.
func (f *Framework) Problems() (problems Problems) {
	if f.Name == "" {
		problems.Add("name", "it has none")
	}
	for _, text := range [...]struct{ at, is string }{{"name", f.Name}, {"user", f.User}, {"principal", f.Principal},
		{"hostname", f.Hostname}, {"web_url", f.WebURL}} {
		if len(text.is) > MaxFrameworkText || strings.ContainsFunc(text.is, isControl) {
			problems.Add(text.at, "it has control characters, or more than %d bytes", MaxFrameworkText)
		}
	}
	size := 0
	for name, value := range f.Labels {
		size += len(name) + len(value) + 1
	}
	if size > MaxFrameworkLabels {
		problems.Add("labels", "they have %d bytes with their names, and up to %d are taken", size, MaxFrameworkLabels)
	}
	switch n := len(f.Roles); {
	case n > MaxFrameworkRoles:
		problems.Add("roles", "it has %d, and up to %d are taken", n, MaxFrameworkRoles)
		return problems // each is compared with all others below
	case n == 0 && !f.Can(CanHaveRoles): // one that may have many may have none, and be offered nothing
		problems.Add("roles", "it has none")
	}
	for i, role := range f.Roles {
		switch {
		case !ValidRole(role):
			problems.Add("roles", "%.520q is not a valid role", role).Advise("use up to eight names joined by slashes")
		case slices.Contains(f.Roles[:i], role):
			problems.Add("roles", "%q is named twice", role)
		}
	}
	if f.FailoverTimeout < 0 || f.FailoverTimeout > MaxFailover {
		problems.Add("failover_timeout", "it is negative or longer than ten years")
	}
	return problems
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// ValidOutsideID reports whether s may be an id that a framework chose, of itself, a task or an executor: 1 to 255 bytes
// without control characters, slashes and backslashes, and neither "." nor "..".
func ValidOutsideID(s string) bool {
	return s != "" && len(s) <= 255 && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return isControl(r) || r == '/' || r == '\\' })
}
