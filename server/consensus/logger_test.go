package consensus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is wrong with a peer is said once a minute; the log of a region with a dead server can still be read.
func TestRaftRepeatsItselfAtDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := newRaftLogger(slog.New(slog.NewTextHandler(&b, nil))).Named("raft").With("component", "raft")
		for range 100 {
			l.Error("failed to heartbeat to", "peer", "a", "error", "refused")
			l.Error("failed to heartbeat to", "peer", "b", "error", "refused")
			l.Error("failed to write a snapshot", "error", "full")
		}
		if n := strings.Count(b.String(), "heartbeat"); n != 2 {
			t.Errorf("%d lines of two peers", n)
		}
		if n := strings.Count(b.String(), "snapshot"); n != 100 {
			t.Errorf("%d lines of what has no peer", n)
		}
		time.Sleep(repeatAfter)
		l.Error("failed to heartbeat to", "peer", "a", "error", "refused")
		if n := strings.Count(b.String(), "heartbeat"); n != 3 {
			t.Errorf("%d lines after a while", n)
		}
	})
}

func TestWhatIsNormalIsNoWarning(t *testing.T) {
	var b bytes.Buffer
	l := newRaftLogger(slog.New(slog.NewTextHandler(&b, nil)))
	l.Warn("heartbeat timeout reached, starting election", "last-leader-addr", "", "last-leader-id", "")
	l.Warn("heartbeat timeout reached, starting election", "last-leader-addr", "a:1", "last-leader-id", "a")
	l.Warn("unable to get address for server, using fallback address", "id", "a", "fallback", "a:1", "error", "not known")
	if text := b.String(); strings.Contains(text, "unable") || strings.Count(text, "level=INFO") != 1 || strings.Count(text, "level=WARN") != 1 {
		t.Error(text)
	}
}
