package structs

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// validJob is canonical and valid.
func validJob() *Job {
	j := &Job{Name: "j", Groups: []*Group{{Name: "g", Network: &Network{Ports: []*Port{{Label: "http"}}},
		Tasks: []*Task{{Name: "t", Templates: []*Template{{Destination: "local/a"}}}}}}}
	j.Canonicalize()
	return j
}

// What is wrong, where, and what to do.
func TestValidate(t *testing.T) {
	g := func(j *Job) *Group { return j.Groups[0] }
	task := func(j *Job) *Task { return j.Groups[0].Tasks[0] }
	n := func(v int) *int { return &v }
	rule := func(attribute, operator, value string) func(*Job) {
		return func(j *Job) {
			j.Constraints = []*Constraint{{Attribute: attribute, Operator: operator, Value: value}}
		}
	}
	spread := func(kind string, readOnly bool, x Propagation) func(*Job) {
		return func(j *Job) {
			v := &GroupVolume{Name: "v", Type: kind, ReadOnly: readOnly}
			v.canonicalize()
			j.Groups[0].Volumes, j.Groups[0].OnLost = []*GroupVolume{v}, OnLostFence
			j.Groups[0].Tasks[0].VolumeMounts = []*VolumeMount{{Volume: "v", Destination: "/v", Propagation: x}}
		}
	}
	changing := func(operator string, c Constraint) func(*Job) {
		return func(j *Job) {
			c.Attribute, c.Operator = "${meta.rack}", operator
			if operator == "=" {
				c.Value = "r1"
			}
			j.Constraints = []*Constraint{&c}
		}
	}
	const hour = Duration(time.Hour)
	for _, x := range []struct {
		name string
		edit func(*Job)
		want string // "" is valid
	}{
		{"valid", func(*Job) {}, ""},
		{"no name", func(j *Job) { j.Name = "" }, `name: a job needs a name`},
		{"slash", func(j *Job) { j.Name = "../etc" }, `name: "../etc" is not a name (up to 128 letters, digits, - _ and ., a letter or digit first)`},
		{"role", func(j *Job) { j.Role = "a//b" }, `role: "a//b" is not a role (one to eight names joined by slashes, such as eng/web)`},
		{"datacenter", func(j *Job) { j.Datacenters = []string{"dc*", "*", "d c"} }, `datacenters[2]: "d c" is not the name of a datacenter`},
		{"max_parallel", func(j *Job) { j.Update.MaxParallel = -1 }, `update.max_parallel: -1 is out of range (1 to 1000000)`},
		{"never healthy", func(j *Job) { j.Update.HealthyTimeout = 1 }, `update.healthy_timeout: 1ns is not longer than min_healthy_time (1s), so that nothing could ever become healthy`},
		{"meta", func(j *Job) { j.Meta = map[string]string{"a=b": ""} }, `meta.a=b: "a=b" is not a name for meta (letters, digits, _ . and -)`},
		{"meta value", func(j *Job) { j.Meta = map[string]string{"a": "\x00"} }, `meta.a: a value cannot hold a NUL byte`},
		{"no group", func(j *Job) { j.Groups = nil }, `group: a job needs a group (write group "name" { task "name" { … } })`},
		{"nil group", func(j *Job) { j.Groups = append(j.Groups, nil) }, `group[1]: a group is missing (null)`},
		{"same group", func(j *Job) { j.Groups = append(j.Groups, g(j)) }, `group.g: there is a group "g" already`},
		{"unnamed group", func(j *Job) { g(j).Name = "" }, `group[0]: a group needs a name`},
		{"count", func(j *Job) { g(j).Count = n(-1) }, `group.g.count: -1 is out of range (0 to 1000000)`},
		{"count 0", func(j *Job) { g(j).Count = n(0) }, ""},
		{"count of a million", func(j *Job) { g(j).Count = n(1_000_000) }, ""},
		{"count too large", func(j *Job) { g(j).Count = n(1_000_001) }, `group.g.count: 1000001 is out of range (0 to 1000000)`},
		{"counts together", func(j *Job) {
			g(j).Count = n(600_000)
			other := clone(*g(j))
			other.Name = "h"
			j.Groups = append(j.Groups, &other)
		}, `group: the counts of all groups are more than 1000000 together`},
		{"restart", func(j *Job) { g(j).Restart.Attempts = n(-1) }, `group.g.restart.attempts: -1 is out of range (0 to 100000)`},
		{"restart interval", func(j *Job) { g(j).Restart.Interval = 1 }, `group.g.restart.interval: 1ns is out of range (1s to 8760h)`},
		{"restart delay", func(j *Job) { g(j).Restart.Delay = 25 * hour }, `group.g.restart.delay: 25h is out of range (0s to 24h)`},
		{"restart mode", func(j *Job) { g(j).Restart.Mode = "fial" }, `group.g.restart.mode: "fial" is not fail or delay (did you mean "fail"?)`},
		{"reschedule", func(j *Job) { g(j).Reschedule.MaxDelay = 1 }, `group.g.reschedule.max_delay: 1ns is less than delay (5s)`},
		{"on_lost", func(j *Job) { g(j).OnLost = "wait" }, `group.g.on_lost: "wait" is not replace, wait(DURATION) or fence`},
		{"max_run_duration", func(j *Job) { g(j).MaxRunDuration = -1 }, `group.g.max_run_duration: -1ns is out of range (0s to 87600h)`},
		{"disk", func(j *Job) { g(j).Disk = 300 }, `group.g.disk: 300B is less than 1MiB (a bare number is bytes; write a unit, such as "300MiB")`},
		{"port", func(j *Job) { g(j).Network.Ports[0].Label = "a-b" }, `group.g.network.port.a-b: "a-b" is not a name for a port (letters, digits and _, no digit first: it becomes PROFFER_PORT_name)`},
		{"static", func(j *Job) { g(j).Network.Ports[0].Static = 65536 }, `group.g.network.port.http.static: 65536 is out of range (1 to 65535)`},
		{"same static", func(j *Job) { g(j).Network.Ports = []*Port{{Label: "a", Static: 80}, {Label: "b", Static: 80}} }, `group.g.network.port.b.static: port 80 is taken by port "a" of the same group`},
		{"protocol", func(j *Job) { g(j).Network.Ports[0].Protocol = "sctp" }, `group.g.network.port.http.protocol: "sctp" is not tcp or udp (use tcp or udp)`},
		{"host_network", func(j *Job) { g(j).Network.Ports[0].Host = "10.0.0.0/99" }, `group.g.network.port.http.host_network: "10.0.0.0/99" is not a network such as 10.0.0.0/8`},
		{"mode", func(j *Job) { g(j).Network.Mode = "overlay" }, `group.g.network.mode: "overlay" is not a mode (there are host, bridge, none and cni/NAME)`},
		{"mode none", func(j *Job) { g(j).Network.Mode = "none" }, `group.g.network.port: nothing reaches a port with mode = "none" (leave the ports out, or use mode = "bridge")`},
		{"egress", func(j *Job) { g(j).Network.Egress = 1 << 20 }, `group.g.network.egress: only what a task sends over the bridge can be limited (use mode = "bridge")`},
		{"labels of a bridge", func(j *Job) { g(j).Network.Mode, g(j).Network.Labels = "bridge", map[string]string{"a": "b"} }, `group.g.network.labels: there is nothing that reads them but the plugins of a CNI network (use mode = "cni/NAME", or leave them out)`},
		{"no address", func(j *Job) { g(j).Network.Mode, g(j).Network.Addresses = "cni/a", []string{"10.0.0.1/24", "10.0.0"} }, `group.g.network.addresses[1]: "10.0.0" is not an address, such as 10.1.2.3 or 10.1.2.3/24`},
		{"an address twice", func(j *Job) { g(j).Network.Mode, g(j).Network.Addresses = "cni/a", []string{"10.0.0.1/24", "10.0.0.1"} }, `group.g.network.addresses[1]: 10.0.0.1 is there twice`},
		{"no group", func(j *Job) { g(j).Network.Mode, g(j).Network.Groups = "cni/a", []string{""} }, `group.g.network.groups[0]: "" is not from 1 to 1024 bytes long`},
		{"no label", func(j *Job) { g(j).Network.Mode, g(j).Network.Labels = "cni/a", map[string]string{"": "b"} }, `group.g.network.labels: the label "" has no name, or more than 1024 bytes`},
		{"cni of the node's network", func(j *Job) { g(j).Network.Further = []*FurtherNetwork{{Name: "a"}} }, `group.g.network.cni: they are beside a network of the allocation's own (use mode = "bridge", or the first one as mode = "cni/NAME")`},
		{"cni twice", func(j *Job) {
			g(j).Network.Mode, g(j).Network.Further = "bridge", []*FurtherNetwork{{Name: "a"}, {Name: "a"}}
		}, `group.g.network.cni.a: the tasks are in a already: a network is joined once`},
		{"cni of the mode", func(j *Job) { g(j).Network.Mode, g(j).Network.Further = "cni/a", []*FurtherNetwork{{Name: "a"}} }, `group.g.network.cni.a: the tasks are in a already: a network is joined once`},
		{"cni name", func(j *Job) { g(j).Network.Mode, g(j).Network.Further = "cni/a", []*FurtherNetwork{{Name: "../b"}} }, `group.g.network.cni.../b: "../b" is not the name of a CNI network`},
		{"cni null", func(j *Job) { g(j).Network.Mode, g(j).Network.Further = "cni/a", []*FurtherNetwork{nil} }, `group.g.network.cni[0]: a network is missing (null)`},
		{"interface twice", func(j *Job) {
			g(j).Network.Mode, g(j).Network.Further = "bridge", []*FurtherNetwork{{Name: "a", Interface: "eth2"}, {Name: "b", Interface: "eth2"}}
		}, `group.g.network.cni.b.interface: there is an interface eth2 already`},
		{"interface of the first", func(j *Job) {
			g(j).Network.Mode, g(j).Network.Further = "bridge", []*FurtherNetwork{{Name: "a", Interface: "eth0"}}
		}, `group.g.network.cni.a.interface: there is an interface eth0 already`},
		{"interface", func(j *Job) {
			g(j).Network.Mode, g(j).Network.Further = "bridge", []*FurtherNetwork{{Name: "a", Interface: "a/../b"}}
		}, `group.g.network.cni.a.interface: "a/../b" is not the name of an interface (a letter, and 14 letters, digits, - or _ at most behind it)`},
		{"address of cni", func(j *Job) {
			g(j).Network.Mode, g(j).Network.Further = "bridge", []*FurtherNetwork{{Name: "a", Addresses: []string{"10.0.0"}}}
		}, `group.g.network.cni.a.addresses[0]: "10.0.0" is not an address, such as 10.1.2.3 or 10.1.2.3/24`},
		{"many cni", func(j *Job) {
			g(j).Network.Mode = "bridge"
			for i := range 8 {
				g(j).Network.Further = append(g(j).Network.Further, &FurtherNetwork{Name: fmt.Sprint("n", i)})
			}
		}, `group.g.network.cni: with that of mode, 9 networks are more than 8`},
		{"network of a port", func(j *Job) { g(j).Network.Mode, g(j).Network.Ports[0].Network = "bridge", "a" }, `group.g.network.port.http.network: the network block has no cni "a" (name one that it has, or leave it out for the network of mode)`},
		{"dns", func(j *Job) { g(j).Network.DNS = &DNS{Servers: []string{"localhost"}} }, `group.g.network.dns.servers[0]: "localhost" is not an IP address`},
		{"dns option", func(j *Job) { g(j).Network.DNS = &DNS{Options: []string{"ndots: 2"}} }, `group.g.network.dns.options[0]: "ndots: 2" is not an option of the resolver`},
		{"same label", func(j *Job) { g(j).Network.Ports = []*Port{{Label: "a", Static: 80}, {Label: "a", Static: 81}} }, `group.g.network.port.a: there are two ports "a"`},
		{"to", func(j *Job) { g(j).Network.Ports[0].To = -1 }, `group.g.network.port.http.to: -1 is out of range (1 to 65535)`},
		{"no task", func(j *Job) { g(j).Tasks = nil }, `group.g.task: a group needs a task (write task "name" { driver = "exec" … })`},
		{"no main task", func(j *Job) { task(j).Lifecycle = &Lifecycle{Hook: "prestart"} }, `group.g.task: a group needs a main task, one without a lifecycle block`},
		{"hook", func(j *Job) { task(j).Lifecycle = &Lifecycle{Hook: "prestrat"} }, "2 problems:\n  group.g.task.t.lifecycle.hook: \"prestrat\" is not prestart or poststop (did you mean \"prestart\"?)\n  group.g.task: a group needs a main task, one without a lifecycle block"},
		{"sidecar", func(j *Job) {
			g(j).Tasks = append(g(j).Tasks, &Task{Name: "s", Driver: "exec", KillSignal: "SIGTERM", Lifecycle: &Lifecycle{Hook: "poststop", Sidecar: true}})
		}, `group.g.task.s.lifecycle.sidecar: only a prestart task can go on beside the main tasks`},
		{"reserved task name", func(j *Job) { task(j).Name = "alloc" }, `group.g.task.alloc: the name alloc is reserved for a folder of the allocation`},
		{"user", func(j *Job) { task(j).User = "root:root" }, `group.g.task.t.user: "root:root" is not the name or number of a user, or two numbers as 1000:1000`},
		{"environment", func(j *Job) { task(j).Env = map[string]string{"1A": ""} }, `group.g.task.t.env.1A: "1A" is not a name for an environment variable (letters, digits, _ . - and no digit first)`},
		{"environment value", func(j *Job) { task(j).Env = map[string]string{"A": strings.Repeat("x", 128<<10)} }, `group.g.task.t.env.A: a value of 128KiB is more than an environment variable holds (128KiB)`},
		{"kill_timeout", func(j *Job) { task(j).KillTimeout = 25 * hour }, `group.g.task.t.kill_timeout: 25h is out of range (0s to 24h)`},
		{"signal", func(j *Job) { task(j).KillSignal = "TERM" }, `group.g.task.t.kill_signal: there is no signal "TERM" (such as SIGTERM, SIGINT, SIGQUIT or SIGHUP)`},
		{"log files", func(j *Job) { task(j).Logs.MaxFiles = 1001 }, `group.g.task.t.logs.max_files: 1001 is out of range (1 to 1000)`},
		{"log size", func(j *Job) { task(j).Logs.MaxFileSize = 10 }, `group.g.task.t.logs.max_file_size: 10B is out of range (4KiB to 1TiB) (a bare number is bytes; write a unit, such as "10MiB")`},
		{"cpu", func(j *Job) { task(j).Resources.CPU = -1 }, `group.g.task.t.resources.cpu: -0.001 cores are out of range (0.001 to a million)`},
		{"cpu_limit", func(j *Job) { task(j).Resources.CPULimit = 50 }, `group.g.task.t.resources.cpu_limit: 0.05 is less than cpu (0.1) (the limit is at least what is reserved)`},
		{"memory_max", func(j *Job) { task(j).Resources.MemoryMax = 64 << 20 }, `group.g.task.t.resources.memory_max: 64MiB is less than memory (128MiB) (the limit is at least what is reserved)`},
		{"memory", func(j *Job) { task(j).Resources.Memory = 1 << 59 }, `group.g.task.t.resources.memory: 512PiB is out of range (up to 256PiB)`},
		{"more memory than a machine has", func(j *Job) { task(j).Resources.Memory = 1 << 54 }, `group.g.resources: an amount is out of range (memory up to 4PiB, disk up to 256PiB)`},
		{"custom", func(j *Job) { task(j).Resources.Custom = map[string]Milli{"cpu": 1} }, `group.g.task.t.resources.custom.cpu: cpu is not a custom resource (write it in resources itself)`},
		{"custom name", func(j *Job) { task(j).Resources.Custom = map[string]Milli{"a b": 1} }, `group.g.task.t.resources.custom.a b: "a b" is not a name for a resource`},
		{"ports", func(j *Job) { task(j).Resources.Ports = 1001 }, `group.g.task.t.resources.ports: 1001 is out of range (0 to 1000)`},
		{"cores and cpu", func(j *Job) { task(j).Resources.Cores = 2 }, `group.g.task.t.resources.cores: cpu is 0.1 and not as much as that (leave out cpu: the cores are what it reserves)`},
		{"half a GPU", func(j *Job) { task(j).Resources.Custom = map[string]Milli{"gpus": 500} }, `group.g.task.t.resources.custom.gpus: 0.5: a GPU is given whole`},
		{"io", func(j *Job) { task(j).Resources.IO = &TaskIO{ReadIops: -1} }, `group.g.task.t.resources.io.read_iops: -1 is out of range (0 to 1000000000)`},
		{"template", func(j *Job) { task(j).Templates[0].Destination = "" }, `group.g.task.t.template[0].destination: a template needs a destination (a path below the task folder, such as local/app.conf)`},
		{"template, absolute", func(j *Job) { task(j).Templates[0].Destination = "/etc/passwd" }, `group.g.task.t.template[0].destination: "/etc/passwd" is not a path below the task folder (write it relative, such as local/app.conf)`},
		{"template, outside", func(j *Job) { task(j).Templates[0].Destination = "local/../../x" }, `group.g.task.t.template[0].destination: "local/../../x" leads out of the task folder (no .. in it)`},
		{"template, folder", func(j *Job) { task(j).Templates[0].Destination = "./local/" }, `group.g.task.t.template[0].destination: "./local/" is a folder (name a file in it)`},
		{"template, twice", func(j *Job) {
			task(j).Templates = append(task(j).Templates, &Template{Destination: "local//a", Perms: "0600", ChangeMode: "none", ChangeSignal: "SIGHUP"})
		}, `group.g.task.t.template[1].destination: "local//a" is written by another template too`},
		{"template mode", func(j *Job) { task(j).Templates[0].Perms = "rw" }, `group.g.task.t.template[0].perms: "rw" is not a mode (three octal digits, such as "0644")`},
		{"template text", func(j *Job) { task(j).Templates[0].Data = "{{ env \"A\" }\n" }, `group.g.task.t.template[0].data: template:1: unexpected "}" in operand`},
		{"template function", func(j *Job) { task(j).Templates[0].Data = "{{ meta \"a\" }}{{ alloc \"index\" }}" }, ""},
		{"template function that is not known", func(j *Job) { task(j).Templates[0].Data = "{{ key \"a\" }}" }, `group.g.task.t.template[0].data: template:1: function "key" not defined`},
		{"size", func(j *Job) {
			task(j).Templates[0].Data = strings.Repeat("x", MaxJobSize)
		}, `the job has 385KiB, more than 384KiB (fetch large data when the task starts, instead of having it in templates or env)`},
		{"config depth", func(j *Job) {
			var v any = 1.0
			for range 40 {
				v = []any{v}
			}
			task(j).Config = map[string]any{"a": v}
		}, `group.g.task.t.config.a` + strings.Repeat("[0]", 32) + `: more than 32 levels deep`},

		{"equal", rule("${attr.kernel.name}", "=", "linux"), ""},
		{"propagation", spread(HostVolume, false, "host-to-task"), ""},
		{"propagation for reading", spread(HostVolume, true, "host-to-task"), ""},
		{"no propagation", spread(HostVolume, false, "rshared"), `group.g.task.t.volume_mount[0].propagation: "rshared" is not private, host-to-task or bidirectional (use private, host-to-task or bidirectional)`},
		{"propagation of who reads", spread(HostVolume, true, "bidirectional"), `group.g.task.t.volume_mount[0].propagation: a task that only reads mounts nothing (leave out read_only, or use host-to-task)`},
		{"propagation of a volume", spread(PersistentVolume, false, "host-to-task"), `group.g.task.t.volume_mount[0].propagation: host-to-task is for host volumes: nothing is mounted in a volume of the region`},
		{"two attributes", rule("${attr.os.name}-${meta.rack}", "=", "${node.class}-x"), ""},
		{"value of the task", rule("${attr.a}", "=", "${env.A}"), `constraint[0].value: "${env.A}" is not an attribute of a node (such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class)`},
		{"unclosed", rule("${attr.a", "=", "x"), `constraint[0].attribute: "${attr.a" is not an attribute of a node (such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class)`},
		{"node", rule("${node.datacenter}", "!=", "dc1"), ""},
		{"no attribute", rule("", "=", "x"), `constraint[0].attribute: an attribute is needed (such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class)`},
		{"bare attribute", rule("meta.rack", "=", "x"), `constraint[0].attribute: "meta.rack" is not an attribute of a node (write "${meta.rack}")`},
		{"unknown attribute", rule("${env.PATH}", "=", "x"), `constraint[0].attribute: "${env.PATH}" is not an attribute of a node (such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class)`},
		{"no value", rule("${attr.a}", ">", ""), `constraint[0].value: operator > needs a value`},
		{"set", rule("${attr.a}", "is_set", ""), ""},
		{"set with a value", rule("${attr.a}", "is_set", "x"), `constraint[0].value: is_set takes no value`},
		{"version", rule("${attr.a}", "version", ">= 1.2, < 3"), ""},
		{"not a version", rule("${attr.a}", "version", ">= x"), `constraint[0].value: ">= x" is not an operator (=, !=, >, >=, <, <=, or ~> with version) and a version (write a list such as ">= 1.2.0, < 2.0.0")`},
		{"kernel version", rule("${attr.a}", "version", "~> 6.8.0-45-generic"), ""},
		{"semantic", rule("${attr.a}", "semver", "~> 1.2"), `constraint[0].value: "~> 1.2" is not an operator (=, !=, >, >=, <, <=, or ~> with version) and a version (write a list such as ">= 1.2.0, < 2.0.0")`},
		{"version missing", rule("${attr.a}", "version", ""), `constraint[0].value: operator version needs a value`},
		{"regexp of an attribute", rule("${attr.a}", "regexp", "${attr.b}"), `constraint[0].value: a pattern cannot refer to attributes`},
		{"regexp", rule("${attr.a}", "regexp", "["), "constraint[0].value: \"[\" is not a regular expression: missing closing ]: `[`"},
		{"hosts", rule("", "distinct_hosts", ""), ""},
		{"hosts of an attribute", rule("${attr.a}", "distinct_hosts", ""), `constraint[0].attribute: distinct_hosts takes no attribute`},
		{"property", rule("${meta.rack}", "distinct_property", "2"), ""},
		{"property count", rule("${meta.rack}", "distinct_property", "0"), `constraint[0].value: "0" is not how many allocations may share a value (1 or more; default 1)`},
		{"beside", rule("${meta.rack}", "not_beside", "tag=noisy"), ""},
		{"beside, on the node", rule("", "beside", "job=db/main"), ""},
		{"beside what", rule("", "beside", "noisy"), `constraint[0].value: "noisy" is not tag=NAME, job=NAME or job=NAME/GROUP (it names the work that is looked for, such as tag=noisy)`},
		{"beside within", rule("rack", "beside", "tag=a"), `constraint[0].attribute: "rack" is not an attribute of a node (such as ${attr.kernel.name}, ${meta.rack}, or ${node.X} with X one of id, name, datacenter, class)`},
		{"affinity to work", func(j *Job) { g(j).Affinities = []*Affinity{{"", "beside", "tag=cache", -20}} }, ""},
		{"tags", func(j *Job) { j.Tags, g(j).Tags = []string{"noisy"}, []string{"a b"} }, `group.g.tags[0]: "a b" is not a tag (up to 128 letters, digits, - _ and ., a letter or digit first)`},
		{"many tags", func(j *Job) {
			for i := range MaxTags + 1 {
				j.Tags = append(j.Tags, fmt.Sprint("t", i))
			}
		}, `group.g.tags: 33 tags, with those of the job, are more than 32`},
		{"relax", changing("=", Constraint{RelaxAfter: hour, Weight: 50}), ""},
		{"relax and harden", changing("=", Constraint{RelaxAfter: hour, HardenAfter: hour, Weight: 50}), `constraint[0].harden_after: a constraint either relaxes or hardens (write relax_after or harden_after)`},
		{"relax distinct", changing("distinct_property", Constraint{RelaxAfter: hour, Weight: 50}), `constraint[0].operator: distinct_property cannot relax or harden (use a spread)`},
		{"relax, weight", changing("=", Constraint{HardenAfter: hour, Weight: -1}), `constraint[0].weight: -1 is out of range (1 to 100)`},
		{"relax never", changing("=", Constraint{RelaxAfter: -1, Weight: 50}), `constraint[0].relax_after: -1ns is out of range (0s to 720h)`},
		{"weight of a constraint", changing("=", Constraint{Weight: 50}), `constraint[0].weight: a constraint has a weight only with relax_after or harden_after (use an affinity)`},
		{"many changes", func(j *Job) {
			for i := range MaxChanges + 1 {
				j.Constraints = append(j.Constraints, &Constraint{Attribute: "${meta.a}", Operator: "=", Value: "b", Weight: 1, RelaxAfter: hour + Duration(i)})
			}
		}, `group.g: 9 different times of relax_after and harden_after, with those of the job, are more than 8`},
		{"unknown operator", rule("${attr.a}", "==", "x"), `constraint[0].operator: there is no operator "==" (did you mean "="?)`},
		{"placement", func(j *Job) { j.Placement = "fill" }, `placement: "fill" is not pack or spread (use pack or spread)`},
		{"nil constraint", func(j *Job) { j.Constraints = []*Constraint{nil} }, `constraint[0]: a constraint is missing (null)`},
		{"affinity weight", func(j *Job) { g(j).Affinities = []*Affinity{{"${attr.a}", "=", "x", 101}} }, `group.g.affinity[0].weight: 101 is out of range (-100 to 100)`},
		{"affinity for hosts", func(j *Job) { g(j).Affinities = []*Affinity{{"", "distinct_hosts", "", 1}} }, `group.g.affinity[0].operator: distinct_hosts is for constraints (use a spread)`},
		{"spread", func(j *Job) {
			j.Spreads = []*Spread{{"${node.datacenter}", 50, []*SpreadTarget{{"a", 60}, {"b", 60}}}}
		}, `spread[0].target: the percents of all targets are 120 together, more than 100`},
		{"spread twice", func(j *Job) {
			j.Spreads = []*Spread{{"${node.datacenter}", 50, []*SpreadTarget{{"a", 10}, {"a", 10}}}}
		}, `spread[0].target.a: there are two targets "a"`},
		{"many", func(j *Job) { j.Constraints = make([]*Constraint, 65) }, "group.g: 65 constraints and affinities, with those of the job, are more than 64"},
	} {
		t.Run(x.name, func(t *testing.T) {
			j := validJob()
			x.edit(j)
			err := j.Validate(nil)
			switch {
			case x.want == "" && err != nil:
				t.Errorf("got %v", err)
			case x.want != "" && (err == nil || err.Error() != x.want && !(x.name == "many" && strings.Contains(err.Error(), x.want))):
				t.Errorf("got  %v\nwant %s", err, x.want)
			}
			if err != nil && KindOf(err) != Invalid {
				t.Errorf("kind %s", KindOf(err))
			}
		})
	}
}

func TestValidateDrivers(t *testing.T) {
	drivers := ConfigChecks{
		"exec": {Config: func(object string, config map[string]any) error {
			if config["command"] == nil {
				return Errorf(Invalid, object+".command", "a command is needed")
			}
			return nil
		}},
		"mock": {Config: func(string, map[string]any) error { return nil }, Unfenced: "it is not real"},
	}
	j := validJob()
	if err := j.Validate(drivers); err == nil || err.Error() != "group.g.task.t.config.command: a command is needed" {
		t.Errorf("got %v", err)
	}
	j.Groups[0].Tasks[0].Config = map[string]any{"command": "x"}
	if err := j.Validate(drivers); err != nil {
		t.Error(err)
	}
	j.Groups[0].OnLost = "fence"
	if err := j.Validate(drivers); err != nil {
		t.Error(err)
	}
	j.Groups[0].Tasks[0].Driver = "mock"
	if err := j.Validate(drivers); err == nil ||
		err.Error() != `group.g.on_lost: task "t" cannot be fenced by the mock driver: it is not real (use another driver, or another on_lost)` {
		t.Errorf("got %v", err)
	}
	// A volume that nobody else may have implies it, which is not what its user wrote.
	j.Groups[0].OnLost, j.Groups[0].Volumes = "", []*GroupVolume{{Name: "data"}}
	j.Canonicalize()
	if err := j.Validate(drivers); err == nil || err.Error() != `group.g.on_lost: volume "data" is for one allocation at a time, which implies on_lost = "fence", `+
		`and task "t" cannot be fenced by the mock driver: it is not real (set on_lost = "replace": then the node lets nobody have the volume until the task is `+
		`gone; or use another driver; or let the volume be shared)` {
		t.Errorf("got %v", err)
	}
	if j.Groups[0].OnLost = "replace"; j.Validate(drivers) != nil {
		t.Errorf("what it advises is refused: %v", j.Validate(drivers))
	}
	j.Groups[0].Volumes = nil
	j.Groups[0].OnLost, j.Groups[0].Tasks[0].Driver = "replace", "docker"
	if err := j.Validate(drivers); err == nil || err.Error() != `group.g.task.t.driver: there is no driver "docker" (there are exec, mock)` {
		t.Errorf("got %v", err)
	}
}

func TestValidateRole(t *testing.T) {
	cpu := func(v Milli) *Milli { return &v }
	size := func(v Bytes) *Bytes { return &v }
	for _, x := range []struct {
		role Role
		want string
	}{
		{Role{Name: "eng/web"}, ""},
		{Role{Name: "eng/"}, `name: "eng/" is not a role (one to eight names joined by slashes, such as eng/web)`},
		{Role{Name: "a", Weight: -1}, `weight: -0.001 is out of range (0.001 to 1000000)`},
		{Role{Name: "a", MaxPriority: "top"}, `max_priority: "top" is not a priority: a band (best-effort, batch, production, monitoring) with an optional level, such as "batch+10"`},
		{Role{Name: "a", Quota: &Quota{Guarantee: &QuotaAmount{Memory: size(64)}}}, `quota.guarantee.memory: 64B is less than 1MiB (a bare number is bytes; write a unit, such as "64MiB")`},
		{Role{Name: "a", Quota: &Quota{Guarantee: &QuotaAmount{CPU: cpu(2000)}, Limit: &QuotaAmount{CPU: cpu(1000)}}}, `quota.limit.cpu: 1 is less than the guarantee (2)`},
		{Role{Name: "a", Quota: &Quota{Guarantee: &QuotaAmount{CPU: cpu(2000)}, Limit: &QuotaAmount{Memory: size(1 << 30)}}}, ""},
		{Role{Name: "a", Quota: &Quota{Guarantee: &QuotaAmount{Custom: map[string]Milli{"gpus": 2000}}, Limit: &QuotaAmount{Custom: map[string]Milli{"gpus": 1000}}}}, `quota.limit.custom.gpus: 1 is less than the guarantee (2)`},
	} {
		r := x.role
		r.Canonicalize()
		err := r.Validate()
		if (err == nil) != (x.want == "") || err != nil && err.Error() != x.want {
			t.Errorf("got  %v\nwant %s", err, x.want)
		}
	}
}
