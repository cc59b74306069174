package config

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// HealthCheck is a command of the host.
type HealthCheck struct {
	Name      string           `json:"name" hcl:"label" doc:"The name of the check, for messages."`
	Command   []string         `json:"command,omitempty" doc:"The program, with its whole path, and its arguments; no shell. Exit code 0: the node is well. What it writes is the reason otherwise."`
	Interval  structs.Duration `json:"interval,omitempty" doc:"How often it runs. Default 1m."`
	Timeout   structs.Duration `json:"timeout,omitempty" doc:"When it has failed without an end. Default 10s."`
	Failures  int              `json:"failures,omitempty" doc:"How many must fail in a row. Default 1."`
	Successes int              `json:"successes,omitempty" doc:"How many must pass in a row until the node counts as well again. Default 1."`
}

// maxHealthChecks bounds the health checks of a node.
const maxHealthChecks = 64

func (h *HealthCheck) finish() {
	setDefault(&h.Interval, structs.Duration(time.Minute))
	setDefault(&h.Timeout, structs.Duration(10*time.Second))
	setDefault(&h.Failures, 1)
	setDefault(&h.Successes, 1)
}

func validateHealth(all []*HealthCheck, p *structs.Problems) {
	if len(all) > maxHealthChecks {
		p.Add("client.health", "%d health checks are more than %d", len(all), maxHealthChecks)
	}
	seen := map[string]bool{}
	for _, h := range all {
		at := "client.health." + h.Name
		switch {
		case !structs.ValidName(h.Name):
			p.Add(at, "%q is not a name", h.Name).Advise("letters, digits, - _ and .")
		case seen[h.Name]:
			p.Add(at, "the check has two blocks")
		}
		seen[h.Name] = true
		if len(h.Command) == 0 || !filepath.IsAbs(h.Command[0]) {
			p.Add(at+".command", "it must be a program with its whole path, and its arguments").Advise(`write command = ["/usr/local/bin/check-disks"]`)
		}
		if strings.ContainsRune(strings.Join(h.Command, ""), 0) {
			p.Add(at+".command", "an argument cannot hold a NUL byte")
		}
		duration(p, at+".interval", h.Interval, time.Second, 24*time.Hour)
		duration(p, at+".timeout", h.Timeout, 10*time.Millisecond, time.Hour)
		number(p, at+".failures", h.Failures, 1, 1000)
		number(p, at+".successes", h.Successes, 1, 1000)
	}
}

// HealthChecks returns the health checks as the node makes them.
func (l *Client) HealthChecks() (all []*structs.Check) {
	for _, h := range l.Health {
		all = append(all, &structs.Check{Name: h.Name, Type: "exec", Command: h.Command, Interval: h.Interval, Timeout: h.Timeout,
			Failures: h.Failures, Successes: h.Successes})
	}
	return all
}
