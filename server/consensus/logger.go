package consensus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is how long what is wrong with a peer is not said again: raft says it several times a second.
const repeatAfter = time.Minute

// raftLogger lets raft and autopilot write to slog.
type raftLogger struct {
	to   *slog.Logger
	name string
	args []any
	said *said
}

func newRaftLogger(to *slog.Logger) hclog.Logger { return &raftLogger{to: to, said: &said{}} }

// said remembers when something was said of a peer.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

// again reports whether msg was said of the peer in args a short while ago. What is of no peer is never said again.
func (s *said) again(msg string, args []any) bool {
	for i := 1; i < len(args); i += 2 {
		if args[i-1] != "peer" {
			continue
		}
		key, now := msg+" "+fmt.Sprint(args[i]), time.Now()
		s.mu.Lock()
		defer s.mu.Unlock()
		if last, ok := s.at[key]; ok && now.Sub(last) < repeatAfter {
			return true
		}
		if s.at == nil || len(s.at) > 1000 {
			s.at = map[string]time.Time{}
		}
		s.at[key] = now
		return false
	}
	return false
}

// noLeaderYet reports whether a time-out is that of a server which has not heard of any leader: every first election
// begins so, and nothing is wrong.
func noLeaderYet(msg string, args []any) bool {
	if !strings.HasPrefix(msg, "heartbeat timeout") {
		return false
	}
	for i := 1; i < len(args); i += 2 {
		if args[i-1] == "last-leader-id" {
			return fmt.Sprint(args[i]) == ""
		}
	}
	return false
}

func levelOf(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Log writes one line. Raft gives errors and its own types as values; those without a text are formatted here.
func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := levelOf(level)
	switch {
	case at == slog.LevelWarn && noLeaderYet(msg, args):
		at = slog.LevelInfo
	case strings.HasPrefix(msg, "unable to get address for server"):
		at = slog.LevelDebug // said with each message; the address that Raft has is taken, as is meant
	}
	if at >= slog.LevelWarn && l.said.again(msg, args) {
		at = slog.LevelDebug
	}
	if !l.to.Enabled(context.Background(), at) {
		return
	}
	for i := 1; i < len(args); i += 2 {
		if f, ok := args[i].(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	l.to.Log(context.Background(), at, msg, args...)
}

func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) enabled(level slog.Level) bool { return l.to.Enabled(context.Background(), level) }

func (l *raftLogger) IsTrace() bool { return l.enabled(slog.LevelDebug - 4) }
func (l *raftLogger) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(slog.LevelInfo) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l *raftLogger) IsError() bool { return l.enabled(slog.LevelError) }

func (l *raftLogger) ImpliedArgs() []any { return l.args }
func (l *raftLogger) Name() string       { return l.name }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{to: l.to.With(args...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...), said: l.said}
}

func (l *raftLogger) Named(name string) hclog.Logger {
	return &raftLogger{to: l.to, name: name, args: l.args, said: l.said}
}
func (l *raftLogger) ResetNamed(name string) hclog.Logger { return l.Named(name) }

// SetLevel does nothing: the level is that of slog.
func (l *raftLogger) SetLevel(hclog.Level) {}

func (l *raftLogger) GetLevel() hclog.Level {
	switch {
	case l.IsDebug():
		return hclog.Debug
	case l.IsInfo():
		return hclog.Info
	}
	return hclog.Warn
}

func (l *raftLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ l *raftLogger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.l.Info(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}

// RaftLogger returns a logger for parts of hashicorp/raft that the caller makes, such as a transport.
func RaftLogger(to *slog.Logger) hclog.Logger { return newRaftLogger(to) }
