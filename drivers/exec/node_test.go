package exec

import (
	"context"
	"slices"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// sweeping is a supervisor with a list of tasks.
type sweeping struct {
	Supervisor
	tasks  []*Status
	forgot []string
}

func (s *sweeping) List(context.Context) ([]*Status, error) { return s.tasks, nil }
func (s *sweeping) Forget(_ context.Context, id string) error {
	s.forgot = append(s.forgot, id)
	return nil
}

func TestSweepForgetsEndedTasksThatNobodyKnows(t *testing.T) {
	s := &sweeping{tasks: []*Status{
		{ID: "a/t/1", Exit: &drivers.Exit{}}, {ID: "b/t/1"}, {ID: "c/t/1", Exit: &drivers.Exit{}},
	}}
	err := New(s, Options{}).Sweep(t.Context(), func(id string) bool { return id == "c/t/1" })
	if err != nil || !slices.Equal(s.forgot, []string{"a/t/1"}) {
		t.Fatalf("forgot %v, %v", s.forgot, err)
	}
}

func TestFoldersAreThoseOfTheTasksRoot(t *testing.T) {
	d := New(&sweeping{}, Options{AllowNone: true})
	for isolation, want := range map[string][2]string{"": {"/alloc", "/"}, "full": {"/alloc", "/"}, "none": {"", ""}} {
		task := &structs.Task{Name: "t", Config: map[string]any{"command": "x"}}
		if isolation != "" {
			task.Config["isolation"] = isolation
		}
		view, err := d.View(t.Context(), task)
		if err != nil || [2]string{view.Shared, view.Task} != want || view.Image {
			t.Errorf("isolation %q: %+v, %v", isolation, view, err)
		}
	}
}
