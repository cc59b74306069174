package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// newLogger makes memberlist log through l. Its levels are toned down by one: its errors are mostly peers that do not
// answer, and what matters of those comes as an event.
func newLogger(l *slog.Logger) *log.Logger {
	return log.New(logWriter{l}, "", 0)
}

type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(raw []byte) (int, error) {
	if bytes.HasSuffix(raw, []byte(errStranger.Error()+"\n")) {
		return len(raw), nil // a server may tell us of ten thousand
	}
	level, text := slog.LevelDebug, string(bytes.TrimSpace(raw))
	for prefix, l := range map[string]slog.Level{"[ERR] ": slog.LevelInfo, "[WARN] ": slog.LevelDebug, "[INFO] ": slog.LevelDebug,
		"[DEBUG] ": slog.LevelDebug} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			level, text = l, rest
		}
	}
	w.log.Log(context.Background(), level, strings.TrimPrefix(text, "memberlist: "))
	return len(raw), nil
}

// quietLog remembers what was logged in the last minute: gossip repeats itself.
type quietLog struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// first reports whether text was not asked about in the last minute.
func (q *quietLog) first(text string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if last, ok := q.last[text]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if q.last == nil || len(q.last) > 256 {
		q.last = map[string]time.Time{}
	}
	q.last[text] = now
	return true
}
