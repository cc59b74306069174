package http

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func TestVariables(t *testing.T) { variables(t, newWorld(t)) }

func variables(t *testing.T, w *world) {
	ctx, c := t.Context(), w.client
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	kind := func(want structs.Kind, err error) {
		t.Helper()
		if structs.KindOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	made, err := c.PutVariable(ctx, "eng/web/db", &api.VariablePut{Items: map[string]string{"password": "hunter2"}, Secret: true, Check: new(uint64(0))})
	must(err)
	_, err = c.PutVariable(ctx, "eng/web/db", &api.VariablePut{Items: map[string]string{"password": "x"}, Check: new(uint64(0))})
	kind(structs.Conflict, err)
	_, err = c.PutVariable(ctx, "db", &api.VariablePut{Items: map[string]string{"password": "x"}})
	kind(structs.Invalid, err)
	_, err = c.PutVariable(ctx, "eng/db", &api.VariablePut{Items: map[string]string{"pass/word": "x"}})
	kind(structs.Invalid, err)
	_, err = c.PutVariable(ctx, "eng/db", &api.VariablePut{Items: map[string]string{"x": strings.Repeat("x", int(structs.MaxVariableBytes)+1)}})
	kind(structs.Invalid, err)
	_, err = c.PutVariable(ctx, "eng/db", &api.VariablePut{Items: map[string]string{"x": strings.Repeat("y", int(structs.MaxVariableBytes))}})
	must(err)
	v, meta, err := c.Variable(ctx, "eng/web/db", nil)
	must(err)
	if v.Items["password"] != "hunter2" || v.Version != made.Index || !v.Secret || v.Actor != "local/ann" {
		t.Errorf("%+v", v)
	}
	list, _, err := c.Variables(ctx, &api.Query{Prefix: "eng/web/"})
	must(err)
	if len(list) != 1 || list[0].Path != "eng/web/db" {
		t.Errorf("%+v", list)
	}

	// A reader waits for the next version, and the value is in no event.
	events, err := http.Get(w.url + "/v1/events?topic=variable")
	must(err)
	defer events.Body.Close()
	lines := bufio.NewScanner(events.Body)
	lines.Scan() // where it begins
	read := make(chan *api.VariableDetail)
	go func() {
		v, _, _ := c.Variable(ctx, "eng/web/db", &api.Query{Index: meta.Index, Wait: time.Minute})
		read <- v
	}()
	_, err = c.PutVariable(ctx, "eng/web/db", &api.VariablePut{Items: map[string]string{"password": "hunter3"}, TTL: structs.Duration(time.Hour)})
	must(err)
	if v = <-read; v == nil || v.Items["password"] != "hunter3" || v.Expires == 0 {
		t.Fatalf("%+v", v)
	}
	lines.Scan()
	if text := lines.Text(); !strings.Contains(text, `"eng/web/db"`) || strings.Contains(text, "hunter") || strings.Contains(strings.ToLower(text), "sealed") {
		t.Error(text)
	}
	_, err = c.RenewVariable(ctx, "eng/web/db", &api.VariableRenew{TTL: structs.Duration(2 * time.Hour), Check: v.Version})
	must(err)
	_, err = c.RenewVariable(ctx, "eng/web/db", &api.VariableRenew{TTL: structs.Duration(2 * time.Hour), Check: v.Version + 1})
	kind(structs.Conflict, err)
	_, err = c.DeleteVariable(ctx, "eng/web/db", new(v.Version+1))
	kind(structs.Conflict, err)
	_, err = c.DeleteVariable(ctx, "eng/web/db", nil)
	must(err)
	_, _, err = c.Variable(ctx, "eng/web/db", nil)
	kind(structs.NotFound, err)
	_, err = c.PutVariable(ctx, "@marathon/state/leader", &api.VariablePut{Items: map[string]string{"value": "a"}})
	must(err)
	if v, _, err := c.Variable(ctx, "@marathon/state/leader", nil); err != nil || v.Items["value"] != "a" {
		t.Errorf("%+v %v", v, err)
	}

	keys, err := c.RegionKeys(ctx)
	must(err)
	if len(keys) != 1 || !keys[0].Active {
		t.Errorf("%+v", keys)
	}
	_, err = c.RotateKey(ctx)
	must(err)
	_, err = c.DropKey(ctx, "5ea1")
	kind(structs.Conflict, err) // something is sealed with it
	for _, path := range []string{"eng/db", "@marathon/state/leader"} {
		_, err = c.DeleteVariable(ctx, path, nil)
		must(err)
	}
	_, err = c.DropKey(ctx, "5ea1")
	must(err)
	exported, err := c.ExportKeys(ctx)
	must(err)
	_, err = c.ImportKeys(ctx, exported)
	must(err)
}

func TestServices(t *testing.T) { services(t, newWorld(t)) }

func services(t *testing.T, w *world) {
	ctx, c := t.Context(), w.client
	if list, _, err := c.Services(ctx, nil); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if _, _, err := c.Service(ctx, "api", nil); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
	job := &structs.Job{Name: "api", Groups: []*structs.Group{{Name: "g", Services: []*structs.Service{{Name: "api", Tags: []string{"v1"}}},
		Tasks: []*structs.Task{{Name: "t", Driver: "mock"}}}}}
	job.Canonicalize()
	if _, err := c.SubmitJob(ctx, job, nil); err != nil {
		t.Fatal(err)
	}
	list, meta, err := c.Services(ctx, nil)
	if err != nil || len(list) != 1 || list[0].Name != "api" || list[0].Ready != 0 || list[0].Jobs[0] != "api" {
		t.Errorf("%+v %v", list, err)
	}
	if found, _, err := c.Service(ctx, "api", nil); err != nil || len(found) != 0 || meta.Index == 0 {
		t.Errorf("%+v %v", found, err)
	}
	if _, _, err := c.Service(ctx, "ap1", nil); err == nil || !strings.Contains(err.Error(), `did you mean "api"?`) {
		t.Error(err)
	}
}
