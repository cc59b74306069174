package agent

import (
	"context"
	"log/slog"
)

// calm returns a logger that writes what Raft says at level info at level debug: in -dev nobody else can lead, so its
// elections are of no interest.
func calm(l *slog.Logger) *slog.Logger { return slog.New(&calmer{Handler: l.Handler()}) }

type calmer struct {
	slog.Handler
	raft bool
}

func (q *calmer) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, q.level(level))
}

func (q *calmer) level(level slog.Level) slog.Level {
	if q.raft && level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

func (q *calmer) Handle(ctx context.Context, r slog.Record) error {
	r.Level = q.level(r.Level)
	return q.Handler.Handle(ctx, r)
}

func (q *calmer) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := &calmer{q.Handler.WithAttrs(attrs), q.raft}
	for _, a := range attrs {
		if a.Key == "component" && a.Value.String() == "raft" {
			next.raft = true
		}
	}
	return next
}

func (q *calmer) WithGroup(name string) slog.Handler {
	return &calmer{q.Handler.WithGroup(name), q.raft}
}
