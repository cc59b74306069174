package exec

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// task is the driver's view of a task of the supervisor. It implements drivers.Task.
type task struct {
	d  *Driver
	id string

	mu    sync.Mutex
	at    structs.Time // of the last Stats
	spent structs.Duration
	peak  structs.Bytes
}

func (d *Driver) task(spec *drivers.Spec) *task { return &task{d: d, id: spec.ID} }

// Handle is empty: the ID is enough.
func (t *task) Handle() []byte { return []byte(t.id) }

func (t *task) Wait(ctx context.Context) (drivers.Exit, error) { return t.d.sup.Wait(ctx, t.id) }

func (t *task) Stop(ctx context.Context, name string, grace time.Duration) error {
	n, err := signalNumber(name)
	if err != nil {
		return err
	}
	return t.d.sup.Stop(ctx, t.id, n, grace)
}

func (t *task) Signal(ctx context.Context, name string) error {
	n, err := signalNumber(name)
	if err != nil {
		return err
	}
	return t.d.sup.Signal(ctx, t.id, n)
}

// Stats fills in CPU from what the task used since the last call; the first one says 0.
func (t *task) Stats(ctx context.Context) (*drivers.Stats, error) {
	s, err := t.d.sup.Stats(ctx, t.id)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := s.Time.Sub(t.at); !t.at.IsZero() && d > 0 && s.CPUTime >= t.spent {
		s.CPU = structs.Milli((s.CPUTime - t.spent) * 1000 / d)
	}
	t.peak = max(t.peak, s.MemoryMax, s.Memory)
	t.at, t.spent, s.MemoryMax = s.Time, s.CPUTime, t.peak
	return s, nil
}

func (t *task) Destroy(ctx context.Context) error { return t.d.sup.Forget(ctx, t.id) }

var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
	"USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
	"TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31,
}

// signalNumber reads "SIGTERM", "term" or "15"; empty is SIGTERM.
func signalNumber(name string) (int, error) {
	if name == "" {
		return signals["TERM"], nil
	}
	upper := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, ok := signals[upper]; ok {
		return localSignal(upper, n), nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return n, nil
	}
	e := structs.Errorf(structs.Invalid, fmt.Sprintf("signal %q", name), "there is no such signal")
	if near := nearest(upper, slices.Sorted(maps.Keys(signals))); near != "" {
		e.Advise("did you mean SIG%s?", near)
	}
	return 0, e
}
