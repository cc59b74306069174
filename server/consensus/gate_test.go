package consensus

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// pipelines is a transport whose pipelines are stuck.
type pipelines struct{ Transport }

func (pipelines) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return &stuck{closed: make(chan struct{})}, nil
}

// stuck is a pipeline that takes nothing until it is closed.
type stuck struct {
	raft.AppendPipeline
	once   sync.Once
	closed chan struct{}
}

func (s *stuck) AppendEntries(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	<-s.closed
	return nil, raft.ErrPipelineShutdown
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// A pipeline that nobody takes answers from holds up neither replication nor the end.
func TestAStuckPipelineIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{Transport: pipelines{}}
		p, err := g.AppendEntriesPipeline("s2", "a:1")
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}); !errors.Is(err, raft.ErrPipelineShutdown) {
			t.Errorf("it was sent: %v", err)
		}
		if took := time.Since(begun); took != pipelinePatience {
			t.Errorf("it took %v", took)
		}
		p, _ = g.AppendEntriesPipeline("s2", "a:1")
		time.AfterFunc(time.Second, g.end)
		begun = time.Now()
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}); !errors.Is(err, raft.ErrPipelineShutdown) {
			t.Errorf("it was sent at the end: %v", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("at the end it took %v", took)
		}
		if _, err := g.AppendEntriesPipeline("s2", "a:1"); !errors.Is(err, raft.ErrPipelineShutdown) {
			t.Errorf("there is one after the end: %v", err)
		}
		if len(g.pipes) != 0 {
			t.Errorf("%d are left", len(g.pipes))
		}
	})
}
