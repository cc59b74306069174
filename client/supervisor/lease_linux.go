//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

func (h *host) lease() time.Duration { return h.slots.Lease() }

func (h *host) renew(until time.Duration) error {
	if err := h.slots.SetLease(until); err != nil {
		return structs.Errorf(structs.Exhausted, h.s.dir, "write down the lease: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer == nil {
		return nil
	}
	c, err := h.timer.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = c.Control(func(fd uintptr) { inner = setTimer(int(fd), until) })
	return errors.Join(err, inner)
}

func setTimer(fd int, until time.Duration) error {
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(until))}
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &at, nil)
}

// watchLease calls ended when the lease has ended, until stop.
func (h *host) watchLease(ended func()) (stop func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		h.s.log.Error("only the stages hold the lease's end", "err", err)
		return func() {}
	}
	timer := os.NewFile(uintptr(fd), "lease")
	h.mu.Lock()
	h.timer = timer
	h.mu.Unlock()
	if until := h.lease(); until > 0 {
		setTimer(fd, until)
	}
	var w sync.WaitGroup
	w.Go(func() {
		for b := make([]byte, 8); ; {
			if _, err := timer.Read(b); err != nil {
				return
			}
			ended()
		}
	})
	return func() {
		timer.Close()
		w.Wait()
	}
}

// Now returns the time since boot, suspended time included: the clock of Renew.
func Now() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
