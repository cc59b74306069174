package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestADevAgentIsCalm(t *testing.T) {
	var b bytes.Buffer
	log := calm(slog.New(slog.NewTextHandler(&b, nil)))
	raft := log.With("component", "raft").WithGroup("x").With("y", 1)
	log.Info("this server leads")
	raft.Info("election won")
	raft.Warn("the disk is slow")
	if text := b.String(); strings.Contains(text, "election") || strings.Count(text, "\n") != 2 {
		t.Error(text)
	}
}
