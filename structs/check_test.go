package structs

import "testing"

// What is wrong with a check, where, and what to do.
func TestValidateChecks(t *testing.T) {
	check := func(edit func(*Check)) func(*Task) {
		return func(t *Task) {
			c := &Check{Name: "up", Port: "http"}
			edit(c)
			c.canonicalize()
			t.Ready = []*Check{c}
		}
	}
	const at = "group.g.task.t.ready.up"
	for _, x := range []struct {
		name string
		edit func(*Task)
		want string // "" is valid
	}{
		{"http", check(func(c *Check) {}), ""},
		{"everything of http", check(func(c *Check) {
			c.Type, c.Path, c.Method, c.Headers, c.Statuses = "https", "/a?b=c%20d", "HEAD", map[string]string{"X-Key": "a b"}, []int{200, 404}
		}), ""},
		{"tcp", check(func(c *Check) { c.Type = "tcp" }), ""},
		{"grpc", check(func(c *Check) { c.Type, c.Service = "grpc", "shop.v1.Cart" }), ""},
		{"exec", check(func(c *Check) { c.Type, c.Port, c.Command = "exec", "", []string{"/bin/ok"} }), ""},
		{"exec by another name", check(func(c *Check) { c.Type, c.Port, c.Command, c.Arg0 = "exec", "", []string{"/bin/busybox"}, new("ls") }), ""},
		{"a name with a NUL", check(func(c *Check) {
			c.Type, c.Port, c.Command, c.Arg0 = "exec", "", []string{"/bin/busybox"}, new("l\x00s")
		}),
			at + `.arg0: a value cannot hold a NUL byte`},
		{"a name of http", check(func(c *Check) { c.Arg0 = new("ls") }), at + `.arg0: a check of type http has no arg0`},
		{"unnamed", check(func(c *Check) { c.Name = "" }), "group.g.task.t.ready[0]: a check needs a name"},
		{"type", check(func(c *Check) { c.Type = "htp" }), at + `.type: "htp" is not http, https, tcp, grpc, grpcs or exec (did you mean "http"?)`},
		{"no port", check(func(c *Check) { c.Port = "" }), at + `.port: a check of type http needs a port (name a port of the group's network block)`},
		{"other port", check(func(c *Check) { c.Port = "htp" }), at + `.port: the group has no port "htp" (did you mean "http"?)`},
		{"exec with a port", check(func(c *Check) { c.Type, c.Command = "exec", []string{"/bin/ok"} }), at + `.port: a check of type exec has no port`},
		{"exec without a command", check(func(c *Check) { c.Type, c.Port = "exec", "" }),
			at + `.command: an exec check needs a command (write command = ["/bin/program", "argument"])`},
		{"command of http", check(func(c *Check) { c.Command = []string{"a"} }), at + `.command: a check of type http has no command`},
		{"path of tcp", check(func(c *Check) { c.Type, c.Path = "tcp", "/" }), at + `.path: a check of type tcp has no path`},
		{"service of http", check(func(c *Check) { c.Service = "a" }), at + `.service: a check of type http has no service`},
		{"path", check(func(c *Check) { c.Path = "health" }), at + `.path: "health" is not a path (it begins with / and has no spaces, such as /health?full=1)`},
		{"path that ends the line", check(func(c *Check) { c.Path = "/a HTTP/1.1\r\n" }),
			at + `.path: "/a HTTP/1.1\r\n" is not a path (it begins with / and has no spaces, such as /health?full=1)`},
		{"method", check(func(c *Check) { c.Method = "get" }), at + `.method: "get" is not a method (such as GET, HEAD or POST)`},
		{"header", check(func(c *Check) { c.Headers = map[string]string{"a b": "c"} }), at + `.headers.a b: "a b" is not the name of a header`},
		{"header that ends the line", check(func(c *Check) { c.Headers = map[string]string{"A": "c\r\nB: d"} }),
			at + `.headers.A: the value of a header is at most 4KiB, on one line`},
		{"status", check(func(c *Check) { c.Statuses = []int{200, 20} }), at + `.statuses[1]: 20 is out of range (100 to 599)`},
		{"interval", check(func(c *Check) { c.Interval = 5 }), at + `.interval: 5ns is out of range (100ms to 24h)`},
		{"timeout", check(func(c *Check) { c.Timeout = -1 }), at + `.timeout: -1ns is out of range (10ms to 1h)`},
		{"failures", check(func(c *Check) { c.Failures = -1 }), at + `.failures: -1 is out of range (1 to 1000)`},
		{"gRPC service", check(func(c *Check) { c.Type, c.Service = "grpc", "a/b" }), at + `.service: "a/b" is not the name of a gRPC service`},
		{"missing", func(t *Task) { t.Live = []*Check{nil} }, `group.g.task.t.live[0]: a check is missing (null)`},
		{"of a task that just ends", func(t *Task) {
			check(func(*Check) {})(t)
			t.Lifecycle = &Lifecycle{Hook: "prestart"}
		}, `group.g.task.t: only main tasks and sidecars have checks: a prestart task just ends`},
		{"one name twice", func(t *Task) {
			check(func(*Check) {})(t)
			t.Live = t.Ready
		}, `group.g.task.t.live.up: there is a check "up" already`},
		{"too many", func(t *Task) {
			for _, name := range "abcdefghijklmnopq" {
				c := &Check{Name: string(name), Type: "tcp", Port: "http"}
				c.canonicalize()
				t.Live = append(t.Live, c)
			}
		}, `group.g.task.t: 17 ready and live checks are more than 16`},
	} {
		j := validJob()
		g := j.Groups[0]
		g.Tasks = append(g.Tasks, &Task{Name: "main"})
		j.Canonicalize()
		x.edit(g.Tasks[0])
		got := ""
		if err := j.Validate(nil); err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%s:\n got  %s\n want %s", x.name, got, x.want)
		}
	}
}
