package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// allocOf returns the id, or the beginning of it, of an allocation that is given by that or by its job.
func allocOf(ctx context.Context, client *api.Client, given string, isJob bool) (string, error) {
	if !isJob {
		return given, nil // also one whose tasks nobody knows any more
	}
	a, _, err := target(ctx, client, "", given, "")
	if err != nil {
		return "", err
	}
	return string(a.ID), nil
}

// target finds the allocation and the task that a command means: by the id of the allocation, or with -job by the name
// of its job. Without a task it is the only one, or the first main one.
func target(ctx context.Context, client *api.Client, given, job, task string) (*api.AllocDetail, string, error) {
	if job != "" {
		status, _, err := client.JobStatus(ctx, job, nil)
		if err != nil {
			return nil, "", err
		}
		given = ""
		for _, a := range status.Allocations { // newest first
			if given == "" || a.Status == structs.AllocRunning {
				given = string(a.ID)
			}
			if a.Status == structs.AllocRunning {
				break
			}
		}
		if given == "" {
			return nil, "", structs.Errorf(structs.NotFound, fmt.Sprintf("job %q", job), "it has no allocations").
				Advise("proffer job status %s says why", job)
		}
	}
	a, _, err := client.Allocation(ctx, given, nil)
	if err != nil {
		return nil, "", err
	}
	names := taskOrder(a)
	if task == "" && len(names) > 0 {
		return a, names[0], nil
	}
	for _, n := range names {
		if n == task {
			return a, task, nil
		}
	}
	e := structs.Errorf(structs.NotFound, fmt.Sprintf("allocation %s: task %q", structs.Short(a.ID), task), "there is none")
	if near := structs.Nearest(task, names); near != "" {
		return nil, "", e.Advise("did you mean %q?", near)
	}
	return nil, "", e.Advise("its tasks: %s", strings.Join(names, ", "))
}
