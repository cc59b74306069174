//go:build linux && system && soak

package system

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// Under full load for an hour (PROFFER_SOAK: another time) no server stands for election, and every job that was accepted
// is done.
func TestNoElectionUnderLoad(t *testing.T) {
	length := time.Hour
	if s := os.Getenv("PROFFER_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	r := newRegion(t)
	servers, _ := three(r)
	term := func() string {
		self, err := servers[0].api().Self(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return self.Stats["raft.term"]
	}
	before := term()
	end := time.Now().Add(length)
	var done atomic.Int64
	var writers sync.WaitGroup
	for w := range 8 {
		client := servers[w%len(servers)].api()
		writers.Go(func() {
			for i := 0; time.Now().Before(end) && !t.Failed(); i++ {
				name := fmt.Sprintf("load-%d-%d", w, i)
				if err := oneJob(t, client, name); err != nil {
					t.Errorf("job %s: %v", name, err)
					return
				}
				done.Add(1)
			}
		})
	}
	writers.Wait()
	t.Logf("%d jobs were accepted and done in %v", done.Load(), length)
	if after := term(); after != before {
		t.Errorf("the Raft term was %s and is %s: there was an election", before, after)
	}
}

// oneJob submits a job of one short task and waits until it is done.
func oneJob(t *testing.T, client *api.Client, name string) error {
	job := &structs.Job{Name: name, Type: structs.BatchJob, Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{
		Name: "t", Driver: "exec", Config: map[string]any{"command": "/bin/true"},
		Resources: &structs.TaskResources{CPU: 10, Memory: 8 << 20}}}}}}
	if _, err := client.SubmitJob(t.Context(), job, nil); err != nil {
		return err
	}
	for index := uint64(0); ; {
		status, meta, err := client.JobStatus(t.Context(), name, &api.Query{Index: index, Wait: time.Minute})
		if err != nil {
			return err
		}
		switch status.Status {
		case structs.JobDone:
			return nil
		case structs.JobFailed, structs.JobStopped:
			return fmt.Errorf("it is %s: %s", status.Status, status.Why)
		}
		index = meta.Index
	}
}
