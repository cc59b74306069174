package agent

import (
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// The log says more for a while, and then what the configuration says by then.
func TestLogsMoreForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(io.Discard, false)
		is := func(want slog.Level) {
			t.Helper()
			synctest.Wait()
			if got := l.level.Level(); got != want {
				t.Errorf("the level is %v, want %v", got, want)
			}
		}
		l.configure(slog.LevelWarn)
		is(slog.LevelWarn)
		l.verbose(time.Minute)
		is(slog.LevelDebug)
		time.Sleep(50 * time.Second)
		l.verbose(time.Minute) // from now on
		time.Sleep(50 * time.Second)
		l.configure(slog.LevelError)
		is(slog.LevelDebug)
		time.Sleep(10 * time.Second)
		is(slog.LevelError)
		l.verbose(time.Minute)
		l.verbose(0)
		is(slog.LevelError)
		l.configure(slog.LevelInfo)
		is(slog.LevelInfo)
	})
}
