//go:build linux && system

package system

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	engine "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers/docker/dockertest"
)

// contained runs one task with what change says of it, and waits until it is so.
func (s *scheduler) contained(id string, is wire.TaskState, script string, change func(*wire.TaskInfo)) *wire.TaskStatus {
	s.t.Helper()
	return s.launch(id, is, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		op := launch(o.AgentID, id, script, scalar("cpus", 0.1, ""), scalar("mem", 64, ""))
		change(&op.Launch.Tasks[0])
		return []wire.Operation{op}
	})
}

// refused launches a task, and returns the first that it is told of it: the region has nothing to be acknowledged when it refuses one itself.
func (s *scheduler) refused(id string, change func(*wire.TaskInfo)) (out *wire.TaskStatus) {
	s.t.Helper()
	o := s.awaitOffer(func(*wire.Offer) bool { return true })
	op := launch(o.AgentID, id, "true", scalar("cpus", 0.1, ""), scalar("mem", 64, ""))
	change(&op.Launch.Tasks[0])
	s.call(&wire.Call{Type: new(wire.CallAccept), Accept: &wire.Accept{OfferIDs: []wire.ID{o.ID}, Operations: []wire.Operation{op}, Filters: &wire.Filters{RefuseSeconds: new(0.0)}}})
	await(s.t, "it is told of task "+id, func() error {
		if out = s.find(id, always); out == nil {
			return errors.New("it was not told")
		}
		return nil
	})
	if out.UUID != nil {
		s.acknowledge(out)
	}
	return out
}

// anyPort is a port of an offer, as a resource.
func anyPort(o *wire.Offer) (int, wire.Resource) {
	for _, r := range o.Resources {
		if r.Name == "ports" {
			first := r.Ranges.Range[0].Begin
			return int(first), wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: first, End: first}}}}
		}
	}
	return 0, wire.Resource{}
}

func (r *region) hub(im string) (image string) {
	r.t.Helper()
	s := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	at, err := net.Listen("tcp", r.network.address(250)+":0")
	if err != nil {
		r.t.Fatal(err)
	}
	s.Listener.Close()
	s.Listener = at
	s.Start()
	r.t.Cleanup(s.Close)
	image = at.Addr().String() + "/" + im
	ref, err := name.ParseReference(image, name.Insecure)
	if err == nil {
		err = remote.Write(ref, dockertest.Busybox())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return image
}

// TestMesosContainers: what the tasks and executors of frameworks ask of their containers is given to them by each of the drivers, in both
// encodings, or refused with a reason; and nobody else sees their secrets.
func TestMesosContainers(t *testing.T) {
	t.Parallel()
	e := dockerEngine(t)
	r := newRegion(t)
	r.separate()
	image := r.hub("busybox:1")
	host, _, _ := strings.Cut(image, "/")
	shared := filepath.Join(r.dir, "shared")
	for _, dir := range []string{shared, shared + "/deep", r.dir + "/seen"} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	r.file("shared/in", "of the node")
	r.file("seen/in", "of the node")
	if err := os.Symlink("/etc", shared+"/away"); err != nil {
		t.Fatal(err)
	}
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	a.inClient = fmt.Sprintf(`  host_volume "shared" {
    path = %q
  }
  host_volume "seen" {
    path      = %q
    read_only = true
  }
  docker {
    endpoint = %q
    volumes  = true
  }
  oci {
    registry %q {
      insecure = true
    }
  }
`, shared, r.dir+"/seen", e.Endpoint(), host)
	r.startAll()
	a.must("var", "put", "-secret", "eng/db", "password=@"+r.file("password", "of the region"))
	const secret = "sent-with-the-task-77"
	value := &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte(secret)}}
	reference := &wire.Secret{Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: "db", Key: new("password")}}
	from := func(at string, source wire.VolumeSource) wire.Volume {
		return wire.Volume{ContainerPath: at, Mode: wire.VolumeRW, Source: &source}
	}
	secretAt := func(at string, s *wire.Secret) wire.Volume {
		return from(at, wire.VolumeSource{Type: new(wire.SourceSecret), Secret: s})
	}
	sandbox := func(at string, kind wire.SandboxPathType, path string) wire.Volume {
		return from(at, wire.VolumeSource{Type: new(wire.SourceSandboxPath), SandboxPath: &wire.SandboxPath{Type: &kind, Path: path}})
	}
	onNode := func(at, path string, mode wire.VolumeMode) wire.Volume {
		return wire.Volume{ContainerPath: at, Mode: mode, HostPath: &path}
	}
	in := map[string]func() *wire.ContainerInfo{
		"exec": func() *wire.ContainerInfo { return &wire.ContainerInfo{Type: wire.ContainerMesos} },
		"oci": func() *wire.ContainerInfo {
			return &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: image}}}}
		},
		"docker": func() *wire.ContainerInfo {
			return &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "busybox:1.36", Parameters: []wire.Parameter{{Key: "label", Value: "of=a framework"}}}}
		},
	}
	// CAP_NET_RAW alone, of which 13 is the number.
	const script = `set -e
is() { [ "$2" = "$3" ] || { echo "$1 is $2 and not $3" >&2; exit 3; }; }
is "the folder of the node" "$(cat /data/in)" "of the node"
echo $DRIVER >/data/deep/of-$NAME
is "what only the node writes" "$(cat conf/in)" "of the node"
! echo no 2>/dev/null >conf/in || exit 4
echo mine >/mine/file
is "a folder of the sandbox" "$(cat own/file)" mine
is "the secret in the environment" "$PASSWORD" sent-with""-the-task-77
is "the secret in a file" "$(cat /run/shop/password)" sent-with""-the-task-77
is "the variable in a file" "$(cat db)" "of the region"
! echo no 2>/dev/null >/run/shop/password || exit 5
is "the limit of files" "$(ulimit -Sn) $(ulimit -Hn)" "100 200"
is "the capabilities" "$(grep CapEff /proc/self/status | cut -f2)" 0000000000002000
is "the shared memory" "$(df -k /dev/shm | tail -n 1 | awk '{print $2}')" 8192`
	asks := func(t *wire.TaskInfo, c *wire.ContainerInfo, driver string) {
		c.Volumes = []wire.Volume{onNode("/data", shared, wire.VolumeRW), onNode("conf", r.dir+"/seen", wire.VolumeRO), sandbox("/mine", wire.SandboxSelf, "own"),
			secretAt("/run/shop/password", value), secretAt("db", reference)}
		c.RLimits = &wire.RLimitInfo{RLimits: []wire.RLimit{{Type: new(wire.RLimitType(10)), Soft: new(uint64(100)), Hard: new(uint64(200))}}}
		c.Linux = &wire.LinuxInfo{Effective: &wire.CapabilityInfo{Capabilities: []wire.LinuxCapability{1013}}, ShmSize: new(uint32(8))}
		if driver == "docker" {
			c.Volumes = append(c.Volumes, from("/store", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: fmt.Sprintf("store-%d", os.Getpid())}}))
		}
		t.Container = c
		t.Command.Environment = &wire.Environment{Variables: []wire.Variable{{Name: "NAME", Value: &t.Name}, {Name: "DRIVER", Value: &driver},
			{Name: "PASSWORD", Type: new(wire.VariableSecret), Secret: value}}}
	}
	var s *scheduler // of the second encoding, which goes on alone: an offer that one has and does not answer is not the other's
	for _, encoding := range []wire.Encoding{wire.Protobuf, wire.JSON} {
		if s != nil {
			s.call(&wire.Call{Type: new(wire.CallTeardown)})
		}
		s = &scheduler{t: t, r: r, at: a, encoding: encoding, info: wire.FrameworkInfo{User: "root", Name: "shop", Role: new("eng"), FailoverTimeout: new(600.0)}}
		await(t, "the scheduler is subscribed", s.alive)
		for driver, container := range in {
			id := driver + "-" + strings.TrimPrefix(encoding.ContentType(), "application/")
			text := script
			if driver != "exec" { // busybox of the image has neither
				text = strings.NewReplacer("grep CapEff /proc/self/status | cut -f2", "cap", "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "shm").Replace(
					"cap() { while read a b; do [ $a != CapEff: ] || echo $b; done </proc/self/status; }\nshm() { df -k /dev/shm | tail -n 1 | { read a b c; echo $b; }; }\n" + script)
			}
			done := s.contained(id, wire.TaskFinished, text, func(t *wire.TaskInfo) {
				asks(t, container(), driver)
				// A program of many names does what it is called. To docker that is an argument like the others.
				if driver == "exec" || (driver == "oci") == (encoding == wire.Protobuf) {
					t.Command.Value, t.Command.Arguments, t.Command.Shell = new("busybox"), []string{"sh", "-c", "cd /local\n" + text}, new(false)
				}
			})
			if raw, err := os.ReadFile(filepath.Join(shared, "deep", "of-"+id)); err != nil || strings.TrimSpace(string(raw)) != driver {
				t.Errorf("what %s wrote on the node is %q, %v", id, raw, err)
			}
			alloc := done.ContainerStatus.ContainerID.Value
			for _, command := range []string{"alloc status " + alloc, "alloc status -json " + alloc} {
				if out := a.must(strings.Fields(command)...); strings.Contains(out, secret) || strings.Contains(out, "c2VudC13aXRoLXRoZS10YXNrLTc3") {
					t.Errorf("%s shows the secret:\n%s", command, out)
				}
			}
		}
	}

	// What the node, or nobody, gives is refused.
	for _, x := range []struct {
		id, driver, why string
		change          func(*wire.ContainerInfo)
	}{
		{"others", "exec", "does not let tasks mount it", func(c *wire.ContainerInfo) { c.Volumes = []wire.Volume{onNode("/data", "/root", wire.VolumeRO)} }},
		{"others-oci", "oci", "does not let tasks mount it", func(c *wire.ContainerInfo) { c.Volumes = []wire.Volume{onNode("/data", "/root", wire.VolumeRO)} }},
		{"others-docker", "docker", "does not let tasks mount it", func(c *wire.ContainerInfo) { c.Volumes = []wire.Volume{onNode("/data", "/root", wire.VolumeRO)} }},
		{"away", "exec", "is a link", func(c *wire.ContainerInfo) {
			c.Volumes = []wire.Volume{onNode("/data", shared+"/away/ssh", wire.VolumeRW)}
		}},
		{"written", "oci", "mount it with the mode RO", func(c *wire.ContainerInfo) { c.Volumes = []wire.Volume{onNode("/data", r.dir+"/seen", wire.VolumeRW)} }},
		{"spread", "exec", "does not let host volume \"shared\" be mounted bidirectional", func(c *wire.ContainerInfo) {
			c.Volumes = []wire.Volume{from("/data", wire.VolumeSource{Type: new(wire.SourceHostPath), HostPath: &wire.HostPath{Path: shared, Propagation: &wire.MountPropagation{Mode: new(wire.PropagationBidirectional)}}})}
		}},
		{"missing", "exec", "variable eng/none (there is none)", func(c *wire.ContainerInfo) {
			c.Volumes = []wire.Volume{secretAt("x", &wire.Secret{Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: "none"}})}
		}},
		{"beside", "exec", "is a folder of the node", func(c *wire.ContainerInfo) { c.Volumes = []wire.Volume{secretAt("/etc/password", value)} }},
		{"unconfined", "exec", "unconfined", func(c *wire.ContainerInfo) {
			c.Linux = &wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Unconfined: new(true)}}
		}},
		{"admin", "exec", `capability "sys_admin" may not be added`, func(c *wire.ContainerInfo) {
			c.Linux = &wire.LinuxInfo{Effective: &wire.CapabilityInfo{Capabilities: []wire.LinuxCapability{1021}}}
		}},
		{"admin-docker", "docker", "does not allow the capability sys_admin", func(c *wire.ContainerInfo) {
			c.Linux = &wire.LinuxInfo{Effective: &wire.CapabilityInfo{Capabilities: []wire.LinuxCapability{1021}}}
		}},
		{"pids", "docker", "does not allow host as pid_mode", func(c *wire.ContainerInfo) { c.Linux = &wire.LinuxInfo{SharePID: new(true)} }},
		{"files", "exec", "its rlimits are above those of the node: nofile 1099511627776, the node has ", func(c *wire.ContainerInfo) {
			c.RLimits = &wire.RLimitInfo{RLimits: []wire.RLimit{{Type: new(wire.RLimitType(10)), Hard: new(uint64(1 << 40)), Soft: new(uint64(1024))}}}
		}},
	} {
		refused := s.refused(x.id, func(t *wire.TaskInfo) { t.Container = in[x.driver](); x.change(t.Container) })
		if refused.State != wire.TaskFailed || refused.Reason == nil || refused.Reason.String() != "REASON_CONTAINER_LAUNCH_FAILED" || refused.Message == nil || !strings.Contains(*refused.Message, x.why) {
			t.Errorf("%s is told %s", x.id, wire.JSON.Marshal(refused))
		}
	}

	// A port of the node leads into a network of the task, of which its framework hears.
	var port int
	serve := func(o *wire.Offer, id string) wire.Operation {
		var held wire.Resource
		port, held = anyPort(o)
		return launch(o.AgentID, id, "while :; do echo $HOSTNAME hello | busybox nc -l -p 8080; done", scalar("cpus", 0.1, ""), scalar("mem", 64, ""), held)
	}
	reached := func(what string) {
		t.Helper()
		await(t, what, func() error {
			c, err := net.Dial("tcp", net.JoinHostPort(a.addr, strconv.Itoa(port)))
			if err != nil {
				return err
			}
			defer c.Close()
			if line, _ := io.ReadAll(io.LimitReader(c, 100)); !strings.Contains(string(line), "hello") {
				return fmt.Errorf("it says %q", line)
			}
			return nil
		})
	}
	bridge := func() []wire.NetworkInfo {
		return []wire.NetworkInfo{{Name: new("bridge"), PortMappings: []wire.PortMapping{{HostPort: uint32(port), ContainerPort: 8080, Protocol: new("tcp")}}}}
	}
	within := netip.MustParsePrefix("172.30.64.0/20")
	check := func(x *wire.TaskStatus, name string, in netip.Prefix, mapped int) {
		t.Helper()
		if c := x.ContainerStatus; c == nil || len(c.NetworkInfos) != 1 || len(c.NetworkInfos[0].IPAddresses) == 0 || c.NetworkInfos[0].IPAddresses[0].IPAddress == nil {
			t.Fatalf("it has no address: %s", wire.JSON.Marshal(x))
		}
		info := x.ContainerStatus.NetworkInfos[0]
		address, err := netip.ParseAddr(*info.IPAddresses[0].IPAddress)
		if err != nil || !in.Contains(address) || name != "" && (info.Name == nil || *info.Name != name) || len(info.PortMappings) != mapped {
			t.Errorf("of the network it is told %s", wire.JSON.Marshal(&info))
		}
	}
	check(s.launch("mapped", wire.TaskRunning, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		op := serve(o, "mapped")
		op.Launch.Tasks[0].Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Networks: bridge(), Hostname: new("shop")}
		return []wire.Operation{op}
	}), "bridge", within, 1)
	reached("the mapped port of a task")

	// The tasks of a pod share a folder, and the network of their executor with its ports.
	pod := wire.ExecutorInfo{ExecutorID: wire.ID{Value: "pod"}, Type: new(wire.ExecutorDefault), Resources: []wire.Resource{scalar("cpus", 0.1, ""), scalar("mem", 32, "")},
		Container: &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{onNode("store", shared+"/deep", wire.VolumeRO)}}}
	check(s.launch("serves", wire.TaskRunning, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		op := serve(o, "serves")
		tasks := op.Launch.Tasks
		pod.Container.Networks = bridge()
		tasks[0].Command.Value = new("echo up >/both/up; " + *tasks[0].Command.Value)
		tasks[0].Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{sandbox("/both", wire.SandboxParent, "both")}}
		waits := launch(o.AgentID, "waits", "until [ -e here/up ]; do sleep 0.1; done; cat stored/of-exec-json && touch here/seen; while :; do sleep 1; done", scalar("cpus", 0.1, ""), scalar("mem", 64, "")).Launch.Tasks[0]
		waits.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{sandbox("here", wire.SandboxParent, "both"), sandbox("stored", wire.SandboxParent, "store")}}
		return []wire.Operation{{Type: new(wire.OperationLaunchGroup), Group: &wire.LaunchGroup{Executor: pod, Tasks: wire.TaskGroupInfo{Tasks: append(tasks, waits)}}}}
	}), "bridge", within, 1)
	reached("the mapped port of a pod")
	await(t, "the tasks of a pod see what they share", func() error {
		if found, _ := filepath.Glob(filepath.Join(a.dir, "client", "alloc*", "*", "alloc", "both", "seen")); len(found) != 1 {
			return fmt.Errorf("found are %v", found)
		}
		return nil
	})

	// A container in a network of the engine.
	subnet := netip.MustParsePrefix("10.213.78.0/28")
	own := fmt.Sprintf("proffer-shop-%d", os.Getpid())
	if _, err := e.API.NetworkCreate(t.Context(), own, client.NetworkCreateOptions{Driver: "bridge", IPAM: &engine.IPAM{Config: []engine.IPAMConfig{{Subnet: subnet}}}}); err != nil {
		t.Fatal(err)
	}
	check(s.contained("engine", wire.TaskRunning, "while :; do sleep 1; done", func(t *wire.TaskInfo) {
		t.Container = in["docker"]()
		t.Container.Docker.Network, t.Container.Networks = new(wire.DockerUser), []wire.NetworkInfo{{Name: &own, IPAddresses: []wire.IPAddress{{IPAddress: new("10.213.78.9")}}}}
	}), "", netip.MustParsePrefix("10.213.78.9/32"), 0) // as it asks for

	// The process of a custom executor has its secrets, and a folder of the node.
	s.launch("of-an-executor", wire.TaskFailed, func(*wire.Offer) bool { return true }, func(o *wire.Offer) []wire.Operation {
		op := launch(o.AgentID, "of-an-executor", "", scalar("cpus", 0.1, ""), scalar("mem", 64, ""))
		op.Launch.Tasks[0].Command = nil
		op.Launch.Tasks[0].Executor = &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "custom"}, Type: new(wire.ExecutorCustom),
			Command:   &wire.CommandInfo{Value: new(`echo "$PASSWORD $(cat key)" | md5sum >/data/executor; exit 7`), Environment: &wire.Environment{Variables: []wire.Variable{{Name: "PASSWORD", Type: new(wire.VariableSecret), Secret: value}}}},
			Container: &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{onNode("/data", shared, wire.VolumeRW), secretAt("key", value)}}}
		return []wire.Operation{op}
	})
	if raw, err := os.ReadFile(shared + "/executor"); err != nil || !strings.HasPrefix(string(raw), "fe7f58baed52eee3941c53d1a7fe2e02") {
		t.Errorf("the executor wrote %q, %v", raw, err)
	}

	for _, path := range []string{"/state", "/tasks", "/v1/allocations"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", a.url()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("tools", r.token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if strings.Contains(string(text), secret) || strings.Contains(string(text), "c2VudC13aXRoLXRoZS10YXNrLTc3") {
			t.Errorf("%s shows the secret", path)
		}
	}
	for _, dir := range []string{"server", "client"} {
		if found := holding(t, filepath.Join(a.dir, dir), secret); len(found) > 0 {
			t.Errorf("the secret is on the disk: %v", found)
		}
	}
	// A supervisor that begins anew runs commands in tasks as they run, so it keeps their environment: for root alone.
	for _, path := range holding(t, filepath.Join(a.dir, "supervisor"), secret) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the secret is in %s: %v, %v", path, info, err)
		}
	}
	if text, err := os.ReadFile(a.log); err != nil || strings.Contains(string(text), secret) {
		t.Errorf("the secret is in the log of the agent, or %v", err)
	}
	for _, id := range []string{"mapped", "engine"} {
		s.told(id, wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: id}}})
	}
	s.told("serves", wire.TaskKilled, &wire.Call{Type: new(wire.CallKill), Kill: &wire.Kill{TaskID: wire.ID{Value: "serves"}}})
	await(t, "the network of the engine is free", func() error {
		_, err := e.API.NetworkRemove(t.Context(), own, client.NetworkRemoveOptions{})
		return err
	})
	await(t, "no secret is in memory any more", func() error {
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil || strings.Contains(string(mounts), a.dir+"/client/alloc") && strings.Contains(string(mounts), "/secrets tmpfs") {
			return fmt.Errorf("%v: %s", err, mounts)
		}
		return nil
	})
}
