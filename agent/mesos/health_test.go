package mesos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Health checks by HTTP and TCP ask the task's own loopback interface, in both encodings; what they cannot be is refused.
func TestHealthChecksByPort(t *testing.T) {
	byHTTP := func(h wire.HTTPHealthCheck) *wire.HealthCheck {
		return &wire.HealthCheck{Type: new(wire.CheckByHTTP), HTTP: &h, Delay: new(0.0), Timeout: new(2.0)}
	}
	byTCP := func(port uint32) *wire.HealthCheck {
		return &wire.HealthCheck{Type: new(wire.CheckByTCP), TCP: &wire.TCPHealthCheck{Port: port}}
	}
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		for _, c := range []struct {
			name  string
			check *wire.HealthCheck
			mode  string // of the network of a Docker container
			want  string
		}{
			{"HTTP", byHTTP(wire.HTTPHealthCheck{Port: 80}), "", "http GET 127.0.0.1:80 / [] after 0s, each 10s, within 2s, 3 times, grace 10s"},
			{"HTTPS", byHTTP(wire.HTTPHealthCheck{Port: 443, Scheme: new("https"), Path: new("/up?x=1"), Statuses: []uint32{200, 204}}), "host",
				"https GET 127.0.0.1:443 /up?x=1 [200 204]"},
			{"TCP", byTCP(5432), "", "tcp  127.0.0.1:5432  [] after 15s, each 10s, within 20s"},
			{"IPv6", &wire.HealthCheck{Type: new(wire.CheckByTCP), TCP: &wire.TCPHealthCheck{Port: 1, Protocol: new(wire.IPProtocol(2))}}, "", "tcp  [::1]:1 "},
			{"no port", byTCP(0), "", "refused: 0 is no port"},
			{"a large port", byTCP(65536), "", "refused: 65536 is no port"},
			{"another scheme", byHTTP(wire.HTTPHealthCheck{Port: 80, Scheme: new("ftp")}), "", "refused: Unsupported HTTP health check scheme: 'ftp'"},
			{"a path that is none", byHTTP(wire.HTTPHealthCheck{Port: 80, Path: new("up")}), "", "refused: The path 'up'"},
			{"a path with a line break", byHTTP(wire.HTTPHealthCheck{Port: 80, Path: new("/\r\nX: y")}), "", "refused: The path"},
			{"a status that is none", byHTTP(wire.HTTPHealthCheck{Port: 80, Statuses: []uint32{1}}), "", "refused: 1 is no status"},
			{"another kind", &wire.HealthCheck{Type: new(wire.CheckByTCP), HTTP: &wire.HTTPHealthCheck{Port: 80}}, "", "refused: HealthCheck must have a 'type'"},
			{"no kind", &wire.HealthCheck{HTTP: &wire.HTTPHealthCheck{Port: 80}}, "", "refused: HealthCheck must have a 'type'"},
			{"a network of the engine", byTCP(80), "bridge", "refused: health checks by HTTP and TCP of a Docker container need the network HOST"},
		} {
			sent := &wire.HealthCheck{}
			if err := e.Unmarshal(e.Marshal(c.check), sent); err != nil {
				t.Fatal(err)
			}
			task := &structs.Task{Config: map[string]any{}}
			if c.mode != "" {
				task.Config["network_mode"] = c.mode
			}
			got := ""
			if err := health(task, sent); err != nil {
				got = "refused: " + err.Error()
			} else {
				x := task.Live[0]
				got = fmt.Sprintf("%s %s %s %s %v after %s, each %s, within %s, %d times, grace %s", x.Type, x.Method, x.Port, x.Path, x.Statuses, x.InitialDelay, x.Interval,
					x.Timeout, x.Failures, x.Grace)
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s\n got  %s\n want %s", e.ContentType(), c.name, got, c.want)
			}
		}
	}
}

// A check asks what a health check of its kind does; what it cannot be is refused, by the words of Mesos where it has some.
func TestChecks(t *testing.T) {
	byCommand := func(c wire.CommandInfo) *wire.Check {
		return &wire.Check{Type: new(wire.CheckByCommand), Command: &wire.CheckCommand{Command: c}}
	}
	byHTTP := func(h wire.CheckHTTP) *wire.Check { return &wire.Check{Type: new(wire.CheckByHTTP), HTTP: &h} }
	byTCP := func(port uint32) *wire.Check {
		return &wire.Check{Type: new(wire.CheckByTCP), TCP: &wire.CheckTCP{Port: port}}
	}
	with := func(c *wire.Check, change func(*wire.Check)) *wire.Check { change(c); return c }
	for _, e := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		for _, c := range []struct {
			name  string
			check *wire.Check
			mode  string // of the network of a Docker container
			want  string
		}{
			{"shell", byCommand(wire.CommandInfo{Value: new("${x} && y")}), "bridge", "exec [/bin/sh -c ${x} && y]   after 15s, each 10s, within 20s"},
			{"program", byCommand(wire.CommandInfo{Value: new("/bin/ok"), Shell: new(false), Arguments: []string{"ok", "-v"}}), "", "exec [/bin/ok -v]   after"},
			{"HTTP", byHTTP(wire.CheckHTTP{Port: 80, Path: new("/up")}), "host", "http [] 127.0.0.1:80 /up after"},
			{"TCP", byTCP(5432), "", "tcp [] 127.0.0.1:5432  after"},
			{"times", with(byTCP(1), func(c *wire.Check) { c.Delay, c.Interval, c.Timeout = new(0.0), new(0.0), new(0.0) }), "", "tcp [] 127.0.0.1:1  after 0s, each 1s, within 1h"},
			{"no type", &wire.Check{TCP: &wire.CheckTCP{Port: 1}}, "", "refused: CheckInfo must specify 'type'"},
			{"another kind", &wire.Check{Type: new(wire.CheckByCommand), TCP: &wire.CheckTCP{Port: 1}}, "", "refused: Expecting 'command' to be set for COMMAND check"},
			{"no command", byCommand(wire.CommandInfo{}), "", "refused: The command of a check has no 'value'"},
			{"an environment", byCommand(wire.CommandInfo{Value: new("x"), Environment: &wire.Environment{Variables: []wire.Variable{{Name: "A", Value: new("b")}}}}), "", "refused: 'environment', 'uris' and 'user'"},
			{"a path that is none", byHTTP(wire.CheckHTTP{Port: 80, Path: new("up")}), "", "refused: The path 'up' of HTTP check must start with '/'"},
			{"no port", byHTTP(wire.CheckHTTP{}), "", "refused: 0 is no port"},
			{"a negative time", with(byTCP(1), func(c *wire.Check) { c.Interval = new(-1.0) }), "", "refused: Expecting 'interval_seconds' of the check to be non-negative"},
			{"a network of the engine", byTCP(80), "bridge", "refused: checks by HTTP and TCP of a Docker container need the network HOST"},
		} {
			sent := &wire.Check{}
			if err := e.Unmarshal(e.Marshal(c.check), sent); err != nil {
				t.Fatal(err)
			}
			task := &structs.Task{Config: map[string]any{}}
			if c.mode != "" {
				task.Config["network_mode"] = c.mode
			}
			got := ""
			if x, err := checkOf(task, sent); err != nil {
				got = "refused: " + err.Error()
			} else {
				got = fmt.Sprintf("%s %v %s %s after %s, each %s, within %s", x.Type, x.Command, x.Port, x.Path, x.InitialDelay, x.Interval, x.Timeout)
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s\n got  %s\n want %s", e.ContentType(), c.name, got, c.want)
			}
		}
	}
	if x, err := checkOf(&structs.Task{}, nil); x != nil || err != nil {
		t.Errorf("without a check: %v, %v", x, err)
	}
	code := 1
	for want, a := range map[string]*structs.CheckAnswer{"null": nil, `{"type":"HTTP","http":{"status_code":1}}`: {Type: "http", Code: &code}, `{"type":"HTTP","http":{}}`: {Type: "http"},
		`{"type":"TCP","tcp":{"succeeded":true}}`: {Type: "tcp", Code: &code}, `{"type":"TCP","tcp":{}}`: {Type: "tcp"}, `{"type":"COMMAND","command":{"exit_code":1}}`: {Type: "exec", Code: &code}} {
		got := "null"
		if s := CheckStatus(a); s != nil {
			got = string(wire.JSON.Marshal(s))
		}
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
