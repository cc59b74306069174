package agent

import (
	"net/http/httptest"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A part of the agent that asks the region in somebody's name is heard and refused as who asks from outside, and before the agent serves nobody is.
func TestAskingFromInside(t *testing.T) {
	a := newAgent(t, t.TempDir())
	client, err := a.asking("ann")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&inside{a, "ann"}).RoundTrip(httptest.NewRequest("GET", "/v1/jobs", nil)); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("before it serves: %v", err)
	}
	if err := a.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.stop(t.Context())
	if _, err := a.server.Read(t.Context(), false); err != nil { // once it leads
		t.Fatal(err)
	}
	job := &structs.Job{Name: "plug", Type: structs.BatchJob, Groups: []*structs.Group{{Name: "g",
		Tasks: []*structs.Task{{Name: "t", Driver: "mock", Config: map[string]any{}}}}}}
	if _, err := client.SubmitJob(t.Context(), job, new(uint64(0))); err != nil {
		t.Fatal(err)
	}
	if _, err := client.SubmitJob(t.Context(), job, new(uint64(0))); structs.KindOf(err) != structs.Conflict {
		t.Errorf("the same again: %v", err)
	}
	versions, _, err := client.JobVersions(t.Context(), "plug", nil)
	if err != nil || len(versions) != 1 || versions[0].Actor != "ann" {
		t.Errorf("the versions are %+v: %v", versions, err)
	}
	all, meta, err := client.JobAllocations(t.Context(), "plug", nil)
	if err != nil || len(all) != 0 || meta.Index == 0 {
		t.Errorf("without a node: %v %+v %v", all, meta, err)
	}
	if _, err := client.StopJob(t.Context(), "plug", true); err != nil {
		t.Error(err)
	}
	if _, _, err := client.Job(t.Context(), "plug", nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("after it was purged: %v", err)
	}
}
