package http

import (
	"regexp"
	"strings"
)

// A Route is one call of the API: what serves it, and what the OpenAPI description and the reference say of it.
type Route struct {
	Method  string // GET, POST, PUT or DELETE
	Path    string // a pattern of net/http: "/v1/job/{name}/scale"
	Name    string // of the operation, in the client's words: "JobScale"
	Summary string // one sentence
	Params  []Param
	Body    any    // nil, or the zero value of what the body holds
	Takes   string // content types of the body, separated by spaces; JSON when empty
	MaxBody int64  // bytes; 0: 1 MiB
	Result  any    // nil, or the zero value of what is answered
	Gives   string // content types of the answer, separated by spaces; JSON when empty
	Flags   Flag
	Handle  func(*call) (any, error) // a nil result: it has answered by itself
}

// Flag says how a route behaves.
type Flag uint8

const (
	Write  Flag = 1 << iota // changes something; takes the header Idempotency-Key
	Stream                  // takes or answers in pieces, for as long as there are some
	Read                    // reads the region's state: takes stale, index and wait
	List                    // also takes prefix, filter, limit and after
	Local                   // is about this agent and never passed on to a server
)

// Param is a query parameter. Those of flags are added by the table; those in the path are read from it.
type Param struct {
	Name   string
	Type   string // string, integer, boolean or duration
	Repeat bool
	Doc    string
}

var (
	readParams = []Param{
		{Name: "stale", Type: "boolean", Doc: "Answer from this server's own state, which may be behind."},
		{Name: "index", Type: "integer", Doc: "Answer when the data has a larger index than this (X-Proffer-Index of the last answer), or after wait."},
		{Name: "wait", Type: "duration", Doc: "The longest to wait with index. Default 5m, at most 10m; up to a sixteenth is added so that clients do not return all at once."},
	}
	listParams = []Param{
		{Name: "prefix", Type: "string", Doc: "Only names (or ids) that begin so."},
		{Name: "filter", Type: "string", Repeat: true, Doc: "field=value, field!=value or field~part of value; fields are those of the answer, joined by dots. All must hold."},
		{Name: "limit", Type: "integer", Doc: "At most so many, 1 to 1000. Default 1000. X-Proffer-Next of the answer is what after takes for more."},
		{Name: "after", Type: "string", Doc: "Only what comes after this name or id."},
	}
)

// params returns all query parameters of the route.
func (route *Route) params() []Param {
	all := append([]Param(nil), route.Params...)
	if route.Flags&List != 0 {
		all = append(all, listParams...)
	}
	if route.Flags&(Read|List) != 0 {
		all = append(all, readParams...)
	}
	return all
}

var pathParam = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`)

// pathParams returns the names of the path's parameters.
func (route *Route) pathParams() []string {
	var names []string
	for _, m := range pathParam.FindAllStringSubmatch(route.Path, -1) {
		names = append(names, m[1])
	}
	return names
}

func (route *Route) takes() []string { return orJSON(route.Takes) }

func (route *Route) gives() []string { return orJSON(route.Gives) }

func orJSON(types string) []string {
	if types == "" {
		return []string{"application/json"}
	}
	return strings.Fields(types)
}
