package oci

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/proffer/proffer/structs"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestSpec: what is given to the runtime, to be read.
func TestSpec(t *testing.T) {
	image := v1.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin", "A=image", "B=image"}, WorkingDir: "/srv"}
	for name, c := range map[string]struct {
		config map[string]any
		change func(*input)
	}{
		"plain": {config: map[string]any{}},
		"all": {
			config: map[string]any{"entrypoint": []any{"/other"}, "args": []any{"-x"}, "work_dir": "/work", "read_only": true, "network_mode": "none",
				"cap_add": []any{"net_raw"}, "cap_drop": []any{"chown"}, "ulimit": map[string]any{"nofile": "100:200", "core": "unlimited"},
				"sysctls": map[string]any{"net.core.somaxconn": 1024}, "shm_size": "1MiB", "pids": 77, "group_add": []any{"50", "7"},
				"mount": []any{map[string]any{"type": "tmpfs", "target": "/cache", "size": "1MiB"}, map[string]any{"source": "/srv/x", "target": "/x", "read_only": true}}},
			change: func(in *input) {
				in.cgroups = 2
				in.user = identity{uid: 1000, gid: 1001, groups: []uint32{7, 9}, home: "/home/app"}
				in.binds = []bind{{"/proc/1/fd/9", "/x", true, ""}}
				in.cpuLimit = 2500
			},
		},
		"propagation": {config: map[string]any{"command": "echo"}, change: func(in *input) {
			in.binds = []bind{{"/a", "/a", true, structs.PropagationHostToTask}, {"/b", "/b", false, structs.PropagationBidirectional}, {"/c", "/c", false, structs.PropagationPrivate}}
		}},
		"init":    {config: map[string]any{"init": true, "command": "echo"}},
		"arg0":    {config: map[string]any{"arg0": "ls", "entrypoint": []any{"/bin/busybox"}, "args": []any{"-l"}}},
		"dropped": {config: map[string]any{"cap_drop": []any{"all"}, "command": "echo", "args": []any{"hi"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.config["image"] = "app:1"
			conf, err := parse("task.config", c.config)
			if err != nil {
				t.Fatal(err)
			}
			in := &input{config: conf, image: image, env: []string{"B=task", "C=task"}, hostname: "host", root: "/c/rootfs", cgroup: "/proffer/x/y",
				folders: []bind{{"/a/alloc", "/alloc", false, ""}, {"/etc/hosts", "/etc/hosts", true, ""}}, cgroups: 1, cpu: 500, memory: 64 << 20}
			if c.change != nil {
				c.change(in)
			}
			got, err := json.MarshalIndent(in.spec(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *rewrite {
				os.MkdirAll("testdata", 0o755)
				if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || strings.TrimSpace(string(want)) != string(got) {
				t.Errorf("%v; it is now\n%s", err, got)
			}
		})
	}
}

// TestRights: whatever a job writes, a container cannot get more than the driver gives.
func TestRights(t *testing.T) {
	for _, bad := range []map[string]any{
		{"cap_add": []any{"sys_admin"}}, {"cap_add": []any{"all"}}, {"cap_add": []any{"CAP_MKNOD"}}, {"cap_add": []any{"sys_ptrace"}},
		{"network_mode": "container:x"}, {"privileged": true}, {"pid_mode": "container:x"}, {"ipc_mode": "${meta.ipc}"}, {"ipc_mode": "host", "shm_size": "1MiB"}, {"shm_size": 100},
		{"ipc_mode": "alloc", "sysctls": map[string]any{"kernel.shmmax": "1"}}, {"devices": []any{"/dev/sda"}},
		{"sysctls": map[string]any{"kernel.core_pattern": "x"}}, {"sysctls": map[string]any{"net.ipv4.ip_forward": "1"}},
		{"mount": []any{map[string]any{"source": "../x", "target": "/x"}}}, {"mount": []any{map[string]any{"source": "local/../../x", "target": "/x"}}},
		{"mount": []any{map[string]any{"source": "/srv/../etc", "target": "/x"}}}, {"mount": []any{map[string]any{"source": "/srv", "target": "/proc/sys"}}},
		{"mount": []any{map[string]any{"source": "/srv", "target": "/x/../proc"}}}, {"mount": []any{map[string]any{"source": "secrets", "target": "/x"}}},
		{"ulimit": map[string]any{"nofile": "9:3"}}, {"auth": map[string]any{"username": "x"}}, {"auth": map[string]any{"variable": "${x}"}}, {"image": "oci:../../x"}, {"pids": 15},
	} {
		if bad["image"] == nil {
			bad["image"] = "app:1"
		}
		if err := (*Driver)(nil).Validate("task.config", bad); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "task.config") {
			t.Errorf("%v: %v", bad, err)
		}
	}
	for _, user := range []uint32{0, 1000} {
		in := &input{config: &config{capAdd: []string{"CAP_NET_RAW"}}, user: identity{uid: user}}
		s := in.spec()
		if !s.Process.NoNewPrivileges || slices.Contains(s.Process.Capabilities.Bounding, "CAP_MKNOD") || len(s.Linux.MaskedPaths) == 0 {
			t.Errorf("%+v", s.Process)
		}
		if user != 0 && len(s.Process.Capabilities.Effective) != 1 {
			t.Errorf("a user has %v", s.Process.Capabilities.Effective)
		}
	}
}

// A container has namespaces of its own, joins those of its allocation by their paths, or has those of the node.
func TestSharedNamespaces(t *testing.T) {
	for mode, want := range map[string]string{"private": "pid= ipc= shm", "alloc": "pid=/x/pid ipc=/x/ipc", "host": ""} {
		c, err := parse("task.config", map[string]any{"image": "app:1", "pid_mode": mode, "ipc_mode": mode})
		if err != nil {
			t.Fatal(err)
		}
		in := &input{config: c}
		if mode == "alloc" {
			in.pidns, in.ipcns = "/x/pid", "/x/ipc"
		}
		s, got := in.spec(), []string{}
		for _, ns := range s.Linux.Namespaces {
			if ns.Type == specs.PIDNamespace || ns.Type == specs.IPCNamespace {
				got = append(got, string(ns.Type)+"="+ns.Path)
			}
		}
		if slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" && m.Type == "tmpfs" }) {
			got = append(got, "shm")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", mode, got, want)
		}
	}
}

// A container joins the network namespace of its allocation by its path; alone it has one of its own.
func TestNetworkNamespace(t *testing.T) {
	find := func(in *input) (path string, found bool) {
		for _, ns := range in.spec().Linux.Namespaces {
			if ns.Type == specs.NetworkNamespace {
				path, found = ns.Path, true
			}
		}
		return path, found
	}
	in := &input{config: &config{network: networkHost}}
	if _, found := find(in); found {
		t.Error("the network of the node is a namespace")
	}
	in.netns = "/x/ns"
	if path, _ := find(in); path != "/x/ns" {
		t.Errorf("it joins %q", path)
	}
	in.netns, in.config.network = "", networkNone
	if path, found := find(in); !found || path != "" {
		t.Errorf("alone: %v, %q", found, path)
	}
}
