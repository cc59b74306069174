package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// What frameworks have asked of a running task again and again, by its node: a health check ends it when it fails, of a check the answers are
// told.

// health ends a task whose check fails.
func health(task *structs.Task, h *wire.HealthCheck) error {
	if h == nil {
		return nil
	}
	kind := wire.CheckByUnknown
	if h.Type != nil {
		kind = *h.Type
	}
	c := &structs.Check{Name: "health", Failures: 3}
	switch {
	case kind == wire.CheckByCommand && h.Command != nil:
		if err := asks(task, c, h.Command, "health check"); err != nil {
			return err
		}
	case kind == wire.CheckByHTTP && h.HTTP != nil:
		if err := byHTTP(c, "health check", h.HTTP); err != nil {
			return err
		}
	case kind == wire.CheckByTCP && h.TCP != nil:
		c.Type = "tcp"
		if err := portOf(c, h.TCP.Port, h.TCP.Protocol); err != nil {
			return err
		}
	default:
		return errors.New("HealthCheck must have a 'type' of COMMAND, HTTP or TCP, and what belongs to it")
	}
	if err := reachable(task, c, "health check"); err != nil {
		return err
	}
	if h.Failures != nil {
		c.Failures = int(max(min(*h.Failures, math.MaxInt16), 1))
	}
	if err := times(c, "health check", h.Delay, h.Interval, h.Timeout); err != nil {
		return err
	}
	var err error
	c.Grace, err = secondsOf("grace_period_seconds", "health check", h.GracePeriod, 10)
	task.Live = []*structs.Check{c}
	return err
}

// checkOf returns the check of a task whose answers its framework is told; nil: it has none. It is given to the node as it is, and not as a part of
// the job, so no text of it is looked at for references.
func checkOf(task *structs.Task, w *wire.Check) (*structs.Check, error) {
	if w == nil {
		return nil, nil
	}
	if w.Type == nil || *w.Type == wire.CheckByUnknown {
		return nil, errors.New("CheckInfo must specify 'type'")
	}
	c := &structs.Check{Name: "check"}
	switch kind := *w.Type; {
	case kind == wire.CheckByCommand && w.Command != nil:
		if err := asks(task, c, &w.Command.Command, "check"); err != nil {
			return nil, err
		}
	case kind == wire.CheckByHTTP && w.HTTP != nil:
		if err := byHTTP(c, "check", &wire.HTTPHealthCheck{Port: w.HTTP.Port, Path: w.HTTP.Path}); err != nil {
			return nil, err
		}
	case kind == wire.CheckByTCP && w.TCP != nil:
		c.Type = "tcp"
		if err := portOf(c, w.TCP.Port, nil); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("Expecting '%s' to be set for %s check", strings.ToLower(kind.String()), kind)
	}
	if err := reachable(task, c, "check"); err != nil {
		return nil, err
	}
	return c, times(c, "check", w.Delay, w.Interval, w.Timeout)
}

// reachable refuses a check by HTTP or TCP of a task whose network the node does not see.
func reachable(task *structs.Task, c *structs.Check, what string) error {
	if mode := task.Config["network_mode"]; c.Port != "" && mode != nil && mode != "host" {
		return fmt.Errorf("%ss by HTTP and TCP of a Docker container need the network HOST", what)
	}
	return nil
}

// times fills in when a check is made. One that may take for ever may take an hour.
func times(c *structs.Check, what string, delay, interval, timeout *float64) (err error) {
	if c.InitialDelay, err = secondsOf("delay_seconds", what, delay, 15); err != nil {
		return err
	}
	if c.Interval, err = secondsOf("interval_seconds", what, interval, 10); err != nil {
		return err
	}
	if c.Timeout, err = secondsOf("timeout_seconds", what, timeout, 20); err != nil {
		return err
	}
	const second, hour = structs.Duration(1e9), structs.Duration(3600e9)
	if c.Timeout == 0 {
		c.Timeout = hour
	}
	c.Interval, c.Timeout = max(c.Interval, second), min(max(c.Timeout, second), hour)
	return nil
}

func secondsOf(name, what string, given *float64, usual float64) (structs.Duration, error) {
	seconds := usual
	if given != nil {
		seconds = *given
	}
	if math.IsNaN(seconds) || seconds < 0 || seconds > 1e6 {
		return 0, fmt.Errorf("Expecting '%s' of the %s to be non-negative, and at most 1000000", name, what)
	}
	return structs.Duration(seconds * 1e9), nil
}

// byHTTP asks for a path. Redirects are not followed, and the certificate of the task is not looked at.
func byHTTP(c *structs.Check, what string, h *wire.HTTPHealthCheck) error {
	c.Type, c.Method, c.Path = cmp.Or(wire.TextOf(h.Scheme), "http"), "GET", cmp.Or(wire.TextOf(h.Path), "/")
	if c.Type != "http" && c.Type != "https" {
		return fmt.Errorf("Unsupported HTTP health check scheme: '%.100s'", c.Type)
	}
	if !strings.HasPrefix(c.Path, "/") || len(c.Path) > maxCheckPath || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("The path '%.100s' of HTTP %s must start with '/', and has no spaces", c.Path, what)
	}
	if len(h.Statuses) > 100 {
		return fmt.Errorf("%d statuses of a health check are more than 100", len(h.Statuses))
	}
	for _, status := range h.Statuses {
		if status < 100 || status > 599 {
			return fmt.Errorf("%d is no status of HTTP", status)
		}
		c.Statuses = append(c.Statuses, int(status))
	}
	return portOf(c, h.Port, h.Protocol)
}

const maxCheckPath = 2048

// portOf sets which port a check asks: of the loopback interface, as the task sees it.
func portOf(c *structs.Check, port uint32, protocol *wire.IPProtocol) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("%d is no port", port)
	}
	host := "127.0.0.1"
	if protocol != nil && protocol.String() == "IPv6" {
		host = "::1"
	}
	c.Port = net.JoinHostPort(host, strconv.Itoa(int(port)))
	return nil
}

var checkTypes = map[string]wire.CheckType{"exec": wire.CheckByCommand, "http": wire.CheckByHTTP, "tcp": wire.CheckByTCP}

// CheckStatus says what a check found last; nil: there is none.
func CheckStatus(a *structs.CheckAnswer) *wire.CheckStatus {
	if a == nil {
		return nil
	}
	out := &wire.CheckStatus{Type: new(checkTypes[a.Type])}
	switch a.Type {
	case "exec":
		if out.Command = (&wire.CheckStatusCommand{}); a.Code != nil {
			out.Command.ExitCode = new(int32(*a.Code))
		}
	case "http":
		if out.HTTP = (&wire.CheckStatusHTTP{}); a.Code != nil {
			out.HTTP.StatusCode = new(uint32(*a.Code))
		}
	case "tcp":
		if out.TCP = (&wire.CheckStatusTCP{}); a.Code != nil {
			out.TCP.Succeeded = new(*a.Code == 1)
		}
	}
	return out
}
