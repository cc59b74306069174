package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// monitorLines bounds what a reader of the log may be behind.
const monitorLines = 512

// logs is where the agent's log goes: standard error, and whoever watches with `proffer monitor`, each at a level of
// their own.
type logs struct {
	level slog.LevelVar // of standard error
	main  slog.Handler

	mu       sync.RWMutex
	monitors map[*monitor]struct{}

	setting    sync.Mutex // guards what follows, and is held while level changes
	configured slog.Level
	more       *time.Timer // until level is configured again; nil: it is
}

// monitor is one reader. lost counts lines that it was too slow for.
type monitor struct {
	handler slog.Handler
	level   slog.Level
	lines   chan []byte

	mu   sync.Mutex
	buf  bytes.Buffer
	lost int
}

func newLogs(w io.Writer, asJSON bool) *logs {
	l := &logs{monitors: make(map[*monitor]struct{})}
	l.main = newHandler(w, &slog.HandlerOptions{Level: &l.level}, asJSON)
	return l
}

// configure sets the level, which counts at once unless the log says more for a while.
func (l *logs) configure(level slog.Level) {
	l.setting.Lock()
	defer l.setting.Unlock()
	l.configured = level
	if l.more == nil {
		l.level.Set(level)
	}
}

// verbose has the log say all there is to say for so long; 0: as much as it is configured to.
func (l *logs) verbose(long time.Duration) {
	l.setting.Lock()
	defer l.setting.Unlock()
	if l.more != nil {
		l.more.Stop()
		l.more = nil
	}
	if long == 0 {
		l.level.Set(l.configured)
		return
	}
	l.level.Set(min(l.configured, slog.LevelDebug))
	var mine *time.Timer
	mine = time.AfterFunc(long, func() {
		l.setting.Lock()
		defer l.setting.Unlock()
		if l.more == mine { // not if it was asked for again meanwhile
			l.more = nil
			l.level.Set(l.configured)
		}
	})
	l.more = mine
}

func newHandler(w io.Writer, o *slog.HandlerOptions, asJSON bool) slog.Handler {
	if asJSON {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// Logger returns what the rest of the agent logs to.
func (l *logs) Logger() *slog.Logger { return slog.New(&fanout{logs: l, main: l.main}) }

// fanout is the handler. chain replays WithAttrs and WithGroup on the handlers of monitors, which came later.
type fanout struct {
	logs  *logs
	main  slog.Handler
	chain []func(slog.Handler) slog.Handler
}

func (f *fanout) Enabled(ctx context.Context, level slog.Level) bool {
	if f.main.Enabled(ctx, level) {
		return true
	}
	f.logs.mu.RLock()
	defer f.logs.mu.RUnlock()
	for m := range f.logs.monitors {
		if level >= m.level {
			return true
		}
	}
	return false
}

func (f *fanout) Handle(ctx context.Context, r slog.Record) error {
	var err error
	if f.main.Enabled(ctx, r.Level) {
		err = f.main.Handle(ctx, r)
	}
	f.logs.mu.RLock()
	defer f.logs.mu.RUnlock()
	for m := range f.logs.monitors {
		if r.Level >= m.level {
			m.take(ctx, r, f.chain)
		}
	}
	return err
}

func (f *fanout) with(step func(slog.Handler) slog.Handler) slog.Handler {
	chain := append(f.chain[:len(f.chain):len(f.chain)], step)
	return &fanout{f.logs, step(f.main), chain}
}

func (f *fanout) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (f *fanout) WithGroup(name string) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

// take formats a record and queues it, or counts it as lost.
func (m *monitor) take(ctx context.Context, r slog.Record, chain []func(slog.Handler) slog.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.handler
	for _, step := range chain {
		h = step(h)
	}
	m.buf.Reset()
	if h.Handle(ctx, r) != nil {
		return
	}
	select {
	case m.lines <- bytes.Clone(m.buf.Bytes()):
	default:
		m.lost++
	}
}

// follow calls emit with each line from now on, until ctx ends or emit fails.
func (l *logs) follow(ctx context.Context, level slog.Level, asJSON bool, emit func([]byte) error) error {
	m := &monitor{level: level, lines: make(chan []byte, monitorLines)}
	m.handler = newHandler(&m.buf, &slog.HandlerOptions{Level: level}, asJSON)
	l.mu.Lock()
	l.monitors[m] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.monitors, m)
		l.mu.Unlock()
	}()
	for {
		select {
		case line := <-m.lines:
			if err := emit(line); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		lost := m.lost
		m.lost = 0
		m.mu.Unlock()
		if lost > 0 {
			r := slog.NewLogLogger(newHandler(emitter(emit), nil, asJSON), slog.LevelWarn)
			r.Printf("this reader was too slow: %d lines were dropped", lost)
		}
	}
}

type emitter func([]byte) error

func (e emitter) Write(line []byte) (int, error) { return len(line), e(line) }
