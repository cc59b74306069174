package http

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/api"
)

// A new call is one entry in the table: this fails where the rest does not follow from it.
func TestEveryRouteIsComplete(t *testing.T) {
	client := reflect.TypeFor[*api.Client]()
	names := map[string]bool{}
	for _, r := range Routes() {
		where := r.Method + " " + r.Path
		if r.Handle == nil || r.Name == "" || !strings.HasSuffix(r.Summary, ".") {
			t.Errorf("%s: needs a handler, a name and a summary that is a sentence", where)
		}
		if names[r.Name] {
			t.Errorf("%s: the name %s is taken", where, r.Name)
		}
		names[r.Name] = true
		if _, ok := client.MethodByName(r.Name); !ok {
			t.Errorf("%s: the client has no method %s", where, r.Name)
		}
		if r.Flags&Write != 0 && r.Method == "GET" && r.Gives != "websocket" {
			t.Errorf("%s: a GET must not change anything", where)
		}
		if r.Flags&Write == 0 && r.Method != "GET" && !strings.HasSuffix(r.Path, "/parse") && !strings.HasSuffix(r.Path, "/plan") && !strings.HasSuffix(r.Path, "/inspect") && !strings.HasSuffix(r.Path, "/simulate") {
			t.Errorf("%s: it changes something and has no Write", where)
		}
		if r.Result == nil {
			t.Errorf("%s: says nothing of its answer", where)
		}
		for _, p := range r.params() {
			if p.Doc == "" || !strings.Contains("string integer boolean duration", p.Type) {
				t.Errorf("%s: parameter %s needs a doc and a type", where, p.Name)
			}
		}
	}
	for i := range client.NumMethod() {
		switch name := client.Method(i).Name; name {
		case "Address", "Close":
		default:
			if !names[name] {
				t.Errorf("the client's method %s has no route", name)
			}
		}
	}
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Parameters  []struct {
				Name, In    string
				Description string
			}
			RequestBody *struct{ Content map[string]any }
			Responses   map[string]struct {
				Content map[string]struct{ Schema any }
			}
		}
		Components struct {
			Schemas map[string]struct {
				Type       string
				Properties map[string]any
			}
		}
	}
	raw := OpenAPI()
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi is %q", doc.OpenAPI)
	}
	routes := Routes()
	total := 0
	for _, operations := range doc.Paths {
		total += len(operations)
	}
	if total != len(routes) {
		t.Errorf("%d operations for %d routes", total, len(routes))
	}
	for _, r := range routes {
		op, ok := doc.Paths[strings.ReplaceAll(r.Path, "...}", "}")][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s %s is missing", r.Method, r.Path)
			continue
		}
		have := map[string]bool{}
		for _, p := range op.Parameters {
			have[p.In+" "+p.Name] = true
		}
		for _, p := range r.pathParams() {
			if !have["path "+p] {
				t.Errorf("%s: path parameter %s is missing", r.Name, p)
			}
		}
		for _, p := range r.params() {
			if !have["query "+p.Name] {
				t.Errorf("%s: query parameter %s is missing", r.Name, p.Name)
			}
		}
		if op.OperationID != r.Name || op.Summary != r.Summary {
			t.Errorf("%s: operation is %q: %q", r.Name, op.OperationID, op.Summary)
		}
		if (op.RequestBody != nil) != (r.Body != nil) {
			t.Errorf("%s: request body: %v", r.Name, op.RequestBody)
		}
		if _, ok := op.Responses["default"]; !ok {
			t.Errorf("%s: has no error", r.Name)
		}
	}
	// Every reference leads somewhere, and a job's fields are those that users write.
	for _, part := range strings.Split(string(raw), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if _, ok := doc.Components.Schemas[name]; !ok {
			t.Errorf("schema %s is missing", name)
		}
	}
	for _, field := range []string{"name", "type", "group", "meta"} {
		if _, ok := doc.Components.Schemas["Job"].Properties[field]; !ok {
			t.Errorf("Job has no %s", field)
		}
	}
	if e := doc.Components.Schemas["HttpErrorBody"].Properties; e["kind"] == nil || e["message"] == nil || e["request_id"] == nil {
		t.Errorf("the error body has %v", e)
	}
}
