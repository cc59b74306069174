//go:build linux && system

package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/structs"
)

// TestSettingsReachTheContainer: what a config says beyond folders and limits is so inside.
func TestSettingsReachTheContainer(t *testing.T) {
	d := driver(t, shared, func(o *docker.Options) { o.Devices = []string{"/dev/zero"} })
	s := spec(t, "", map[string]any{
		"entrypoint": []any{"/bin/sh", "-c"}, "command": `
echo "$0 $1"; pwd; cat /proc/sys/kernel/msgmax; df /dev/shm | tail -n 1 | grep -q 2048 && echo "a small shm"
[ -c /dev/inside ] && head -c 3 /dev/inside | wc -c; grep -c 10.0.0.9 /etc/hosts
grep Groups /proc/self/status | grep -c -w 4242; cat /proc/1/comm; ulimit -c; ulimit -H -n
grep CapBnd /proc/self/status
`, "args": []any{"first", "second"},
		"work_dir": "/tmp", "sysctls": map[string]any{"kernel.msgmax": "4096"}, "shm_size": "2MiB", "devices": []any{"/dev/zero:/dev/inside:r"},
		"extra_hosts": []any{"db:10.0.0.9"}, "group_add": []any{"4242"}, "init": true, "ulimit": map[string]any{"core": "0", "nofile": "64:128"},
		"cap_drop": []any{"all"}, "cap_add": []any{"kill"}, "security_opt": []any{"no-new-privileges"},
	})
	task := start(t, d, s)
	if exit := wait(t, task); exit.Code != 0 {
		t.Errorf("exit %+v: %s", exit, text(t, s, "stderr"))
	}
	want := "first second\n/tmp\n4096\na small shm\n3\n1\n1\ndocker-init\n0\n128\nCapBnd:\t0000000000000020\n"
	if got := text(t, s, "stdout"); got != want {
		t.Errorf("stdout:\n%swant:\n%sstderr:\n%s", got, want, text(t, s, "stderr"))
	}
}

// TestPrivileged: a privileged container has all rights and devices of the host, where the node allows it.
func TestPrivileged(t *testing.T) {
	d := driver(t, shared, nil)
	all := spec(t, "grep CapEff /proc/self/status | cut -f 2; [ -e /dev/mem ] && echo devices", map[string]any{"privileged": true})
	if _, err := d.Start(within(t), all); structs.KindOf(err) != structs.Invalid && structs.KindOf(err) != structs.Forbidden {
		t.Errorf("privileged without permission: %v", err)
	}
	free := driver(t, shared, func(o *docker.Options) { o.Privileged = true })
	task, err := free.Start(within(t), all)
	if err != nil && strings.Contains(err.Error(), "unable to apply caps") {
		t.Skipf("this machine has not got all rights to give: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer take(t, task)
	wait(t, task)
	host, err := os.ReadFile("/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(host), "CapBnd:\t")
	rights, _, _ = strings.Cut(rights, "\n")
	if got := text(t, all, "stdout"); got != rights+"\ndevices\n" {
		t.Errorf("a privileged container has %q, the host has %s", got, rights)
	}
}

// TestPinnedImages: a digest is that image, whatever the tag says now, and force_pull asks what it says.
func TestPinnedImages(t *testing.T) {
	h := newHub(t)
	ref, digest := h.push(t, "pinned/web:1", "first")
	d := driver(t, shared, nil)
	content := func(image string, force bool) string {
		s := spec(t, "cat /more0", map[string]any{"image": image, "force_pull": force})
		if err := d.Prepare(within(t), s); err != nil {
			t.Fatal(err)
		}
		wait(t, start(t, d, s))
		return text(t, s, "stdout")
	}
	if got := content(ref, false); got != "first" {
		t.Fatalf("content %q", got)
	}
	h.push(t, "pinned/web:1", "second")
	pinned := strings.TrimSuffix(ref, ":1") + "@" + digest
	for _, c := range []struct {
		image string
		force bool
		want  string
	}{{ref, false, "first"}, {ref, true, "second"}, {pinned, false, "first"}, {pinned, true, "first"}, {ref, false, "second"}} {
		if got := content(c.image, c.force); got != c.want {
			t.Errorf("%s, force_pull = %t: content %q, want %q", c.image, c.force, got, c.want)
		}
	}
}

// TestImagesOfATask: what a task brought with credentials of its own is for others only when the registry gives it to them.
func TestImagesOfATask(t *testing.T) {
	h := newHub(t)
	h.password = "s3cret"
	ref, digest := h.push(t, "private/own:1", "own")
	folder := t.TempDir()
	options := func(o *docker.Options) { o.Folder = folder }
	ask := func(d *docker.Driver, image, password string) error {
		config := map[string]any{"image": image}
		if password != "" {
			config["auth"] = map[string]any{"username": "node", "password": password}
		}
		err := d.Prepare(within(t), spec(t, "true", config))
		if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "guess")) {
			t.Errorf("the error tells the password: %v", err)
		}
		return err
	}
	d := driver(t, shared, options)
	for _, password := range []string{"", "guess"} {
		err := ask(d, ref, password)
		if structs.KindOf(err) != structs.Forbidden || !strings.Contains(structs.AsError(err).Do, "password for "+h.host()) {
			t.Errorf("without the password: %v, %q", err, structs.AsError(err).Do)
		}
	}
	if err := ask(d, ref, "s3cret"); err != nil {
		t.Fatal(err)
	}
	asked := h.manifests.Load()
	if err := ask(d, ref, "s3cret"); err != nil || h.manifests.Load() != asked {
		t.Errorf("the same task again: %v, %d questions", err, h.manifests.Load()-asked)
	}
	for _, again := range []*docker.Driver{d, driver(t, shared, options)} {
		for _, image := range []string{ref, strings.TrimSuffix(ref, ":1") + "@" + digest} {
			for _, password := range []string{"", "guess"} {
				if err := ask(again, image, password); structs.KindOf(err) != structs.Forbidden {
					t.Errorf("%s is given to others: %v", image, err)
				}
			}
		}
		if err := ask(again, ref, "s3cret"); err != nil {
			t.Error(err)
		}
	}
	node := driver(t, shared, func(o *docker.Options) {
		o.Folder, o.Registries = folder, map[string]*docker.Credentials{h.host(): {Username: "node", Password: "s3cret"}}
	})
	if err := ask(node, ref, ""); err != nil {
		t.Errorf("what the node may have: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "images.json"))
	if err != nil || strings.Contains(string(raw), "s3cret") {
		t.Errorf("the node's notes: %s, %v", raw, err)
	}
}

// TestLogDrivers: with the engine's own log driver, output goes there and to the task's files.
func TestLogDrivers(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := spec(t, "echo to both", map[string]any{"log_driver": "syslog",
		"log_options": map[string]any{"syslog-address": "udp://" + l.LocalAddr().String(), "tag": "shop"}})
	if _, err := driver(t, shared, nil).Start(within(t), s); structs.KindOf(err) != structs.Invalid && structs.KindOf(err) != structs.Forbidden {
		t.Errorf("without permission: %v", err)
	}
	d := driver(t, shared, func(o *docker.Options) { o.LogDrivers = []string{"syslog"} })
	wait(t, start(t, d, s))
	if got := text(t, s, "stdout"); got != "to both\n" {
		t.Errorf("the task's file has %q", got)
	}
	b := make([]byte, 4096)
	n, _, err := l.ReadFrom(b)
	if got := string(b[:n]); err != nil || !strings.Contains(got, "shop") || !strings.Contains(got, "to both") {
		t.Errorf("the log driver got %q, %v", got, err)
	}
}

// engineNetwork makes a network of the engine for a test, and returns its name.
func engineNetwork(t *testing.T, of, subnet string) string {
	t.Helper()
	name := fmt.Sprintf("proffer-%s-%d", of, os.Getpid())
	_, err := shared.API.NetworkCreate(within(t), name, client.NetworkCreateOptions{Driver: "bridge",
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix(subnet)}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := shared.API.NetworkRemove(context.Background(), name, client.NetworkRemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

// TestSeveralNetworks: a container is in all networks that it names when it starts, and its addresses are told in their order, also by an
// agent that comes later. One that the engine does not have is the reason, and leaves no container.
func TestSeveralNetworks(t *testing.T) {
	first, beside, third := engineNetwork(t, "first", "10.213.77.16/28"), engineNetwork(t, "beside", "10.213.77.32/28"), engineNetwork(t, "also", "10.213.77.48/28")
	d := driver(t, shared, nil)
	s := spec(t, "ip -o -4 addr | awk '{print $4}' | sort; echo ready; sleep 1000", map[string]any{"network_mode": first, "network": []any{
		map[string]any{"name": beside, "ipv4_address": "10.213.77.40", "aliases": []any{"store"}}, map[string]any{"name": third, "ipv4_address": "10.213.77.60"}}})
	begun := start(t, d, s)
	defer take(t, begun)
	await(t, "the task", func() bool { return strings.Contains(text(t, s, "stdout"), "ready") })
	if got := text(t, s, "stdout"); got != "10.213.77.18/28\n10.213.77.40/28\n10.213.77.60/28\n127.0.0.1/8\nready\n" {
		t.Errorf("in the container: %q", got)
	}
	found, err := driver(t, shared, nil).Recover(within(t), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []drivers.Task{begun, found} {
		own, joined, err := task.(drivers.Addressed).Addresses(within(t))
		if got := fmt.Sprint(own, joined, err); got != fmt.Sprintf("[10.213.77.18] [{%s  [10.213.77.40]} {%s  [10.213.77.60]}] <nil>", beside, third) {
			t.Errorf("told: %s", got)
		}
	}
	bad := spec(t, "sleep 1000", map[string]any{"network_mode": first, "network": []any{map[string]any{"name": "nowhere"}}})
	if _, err := d.Start(within(t), bad); err == nil || !strings.Contains(err.Error(), "network nowhere not found") {
		t.Errorf("a network that there is not: %v", err)
	}
	if _, err := d.Recover(within(t), bad, nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("its container: %v", err)
	}
}

// TestPublishedPorts: a port of the node leads into a container on a network of the engine, with the address that it asks for.
func TestPublishedPorts(t *testing.T) {
	name := engineNetwork(t, "ports", "10.213.77.0/28")
	// An address of this process alone: nobody takes the port between the look and the use.
	const port = 8080
	host := fmt.Sprintf("127.88.%d.%d", os.Getpid()/250%250+1, os.Getpid()%250+1)
	d := driver(t, shared, nil)
	s := spec(t, "while :; do echo hello | nc -l -p 80; done", map[string]any{"network_mode": name, "ports": []any{"http"}, "network_aliases": []any{"web"},
		"ipv4_address": "10.213.77.9"})
	s.Ports = []structs.AssignedPort{{Label: "http", Port: port, To: 80, Host: host}}
	task := start(t, d, s)
	defer take(t, task)
	await(t, "an answer at the port", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		defer c.Close()
		line, _ := bufio.NewReader(io.LimitReader(c, 100)).ReadString('\n')
		return line == "hello\n"
	})
	if own, _, err := task.(drivers.Addressed).Addresses(within(t)); err != nil || len(own) != 1 || own[0] != "10.213.77.9" {
		t.Errorf("the container has the addresses %v, %v: it asked for 10.213.77.9", own, err)
	}
}

// TestWholeCores: a container with cores of its own runs on them alone, and all others keep off them, those that were there and those that
// come, also when the agent was started anew in between.
func TestWholeCores(t *testing.T) {
	folder := t.TempDir()
	allowed := func(s *drivers.Spec) string {
		return strings.TrimSpace(strings.TrimPrefix(text(t, s, "stdout"), "ready\n"))
	}
	begin := func() (*docker.Driver, func()) {
		d := docker.New(docker.Options{Endpoint: shared.Endpoint(), Owner: "cores", Folder: folder})
		if f := healthy(t, d); f.Attributes["cores"] != "1" || f.Attributes["io"] != "1" {
			t.Fatalf("the node has no cores to give: %v", f.Attributes)
		}
		ctx, cancel := context.WithCancel(within(t))
		done := make(chan struct{})
		go func() {
			d.Keep(ctx, func(string) bool { return true })
			close(done)
		}()
		return d, func() { cancel(); <-done }
	}
	on := func(task drivers.Task, want string) {
		t.Helper()
		var last string
		await(t, "a container to run on "+want, func() bool {
			r, err := shared.API.ContainerInspect(within(t), string(task.Handle()), client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.Container.State.Pid))
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(raw), "Cpus_allowed_list:")
			last, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
			return last == want
		})
	}
	raw, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	cores, err := drivers.ParseCores(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if len(cores) < 2 {
		t.Skipf("it takes two cores: %v", cores)
	}
	all, first, rest := strings.TrimSpace(string(raw)), drivers.FormatCores(cores[:1]), ranges(cores[1:])
	d, end := begin()
	defer func() { end() }()
	d.KeepOff(within(t), nil, cores)
	early := start(t, d, spec(t, "exec sleep 1000", nil))
	on(early, all)
	d.KeepOff(within(t), cores[:1], cores[1:])
	s := spec(t, "grep Cpus_allowed_list /proc/self/status | cut -f 2", nil)
	s.Cores, s.IO = cores[:1], &structs.TaskIO{WriteBps: 1 << 20, ReadIops: 100}
	mine := start(t, d, s)
	wait(t, mine)
	if got := allowed(s); got != first {
		t.Errorf("it runs on %s and has %s", got, first)
	}
	r, err := shared.API.ContainerInspect(within(t), string(mine.Handle()), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Container.HostConfig; len(h.BlkioDeviceWriteBps) == 0 || h.BlkioDeviceWriteBps[0].Rate != 1<<20 || len(h.BlkioDeviceReadIOps) == 0 || len(h.BlkioDeviceReadBps) != 0 {
		t.Errorf("bounds of disk use: %+v", h.Resources)
	}
	late := start(t, d, spec(t, "exec sleep 1000", nil))
	on(early, rest)
	on(late, rest)
	end()
	d, end = begin()
	d.KeepOff(within(t), nil, cores) // it ended while the agent was down
	on(early, all)
	on(late, all)
	both := spec(t, "true", map[string]any{"cpuset_cpus": "0"})
	both.Cores = cores[:1]
	if _, err := d.Start(within(t), both); structs.KindOf(err) != structs.Invalid {
		t.Errorf("cpuset_cpus beside whole cores: %v", err)
	}
}

// ranges writes neighbouring cores as the kernel does.
func ranges(cores []int) string {
	if len(cores) == 1 {
		return strconv.Itoa(cores[0])
	}
	return fmt.Sprintf("%d-%d", cores[0], cores[len(cores)-1])
}
