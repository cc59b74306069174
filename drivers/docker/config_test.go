package docker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestAllSettingsAreTaken(t *testing.T) {
	c, err := parse("task.config", map[string]any{
		"image": "registry.example.com:5000/shop/web@sha256:" + strings.Repeat("0a", 32), "force_pull": true,
		"entrypoint": []any{"/init"}, "command": "serve", "args": []any{"-v"}, "work_dir": "/srv", "hostname": "web", "init": true, "read_only": true,
		"network_mode": "shop", "network_aliases": []any{"web"}, "ipv4_address": "10.0.0.9", "ipv6_address": "fd00::9", "network": []any{map[string]any{"name": "store", "ipv4_address": "10.0.1.9", "aliases": []any{"www"}}, map[string]any{"name": "${meta.net}"}}, "ports": []any{"http", "dns/udp"}, "extra_hosts": []any{"db:10.0.0.1"},
		"dns": []any{"10.0.0.2"}, "dns_search": []any{"example.com"}, "labels": map[string]any{"team": "shop"},
		"cap_add": []any{"net_admin"}, "cap_drop": []any{"ALL"}, "ulimit": map[string]any{"nofile": "1024:2048", "core": int64(0)},
		"sysctls": map[string]any{"net.core.somaxconn": "1024"}, "shm_size": "64MiB", "pids": 100.0, "devices": []any{"/dev/fuse", "/dev/null:/dev/x:r"},
		"group_add": []any{"audio"}, "cpuset_cpus": "0-1", "security_opt": []any{"no-new-privileges"}, "ipc_mode": "private",
		"volumes": []any{"local/data:/data", "/srv/www:/www:ro", "cache:/cache"}, "volume_driver": "vieux/sshfs:latest",
		"mount": []any{map[string]any{"type": "tmpfs", "target": "/scratch", "size": "16MiB"},
			map[string]any{"type": "volume", "source": "shop", "target": "/shop", "driver": "rexray", "driver_options": map[string]any{"size": "5"}}},
		"auth": map[string]any{"username": "shop", "password": "s3cret"}, "log_driver": "syslog", "log_options": map[string]any{"tag": "shop"},
		"options": map[string]any{"BlkioWeight": 300.0, "OomScoreAdj": 100.0},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.mounts) != 5 || c.mounts[0].kind != mountBind || !c.mounts[1].readOnly || c.mounts[2].kind != mountVolume || c.mounts[3].size != 16<<20 {
		t.Errorf("mounts %+v", c.mounts)
	}
	if c.mounts[0].driver+c.mounts[3].driver != "" || c.mounts[2].driver != "vieux/sshfs:latest" || c.mounts[4].driver != "rexray" || c.mounts[4].options["size"] != "5" {
		t.Errorf("drivers of volumes: %+v", c.mounts)
	}
	if w := c.wish(true); w.own == nil || w.own.Username != "shop" || w.own.Password != "s3cret" || c.logDriver != "syslog" || c.logOptions["tag"] != "shop" {
		t.Errorf("credentials %v, log driver %s %v", w.own, c.logDriver, c.logOptions)
	}
	if len(c.ulimits) != 2 || c.ulimits[1].Soft != 1024 || c.ulimits[1].Hard != 2048 || c.ulimits[0].Hard != 0 {
		t.Errorf("ulimits %v", c.ulimits)
	}
	if len(c.devices) != 2 || c.devices[1] != (deviceConfig{"/dev/null", "/dev/x", "r"}) || c.capAdd[0] != "NET_ADMIN" {
		t.Errorf("devices %v, capabilities %v", c.devices, c.capAdd)
	}
	var host container.HostConfig
	if err := c.options.apply(&host); err != nil || host.BlkioWeight != 300 || host.OomScoreAdj != 100 {
		t.Errorf("options: %+v, %v", host, err)
	}
	if len(c.options.guarded) != 1 || c.options.guarded[0] != "OomScoreAdj" {
		t.Errorf("guarded: %v", c.options.guarded)
	}
	// References are known at the start only.
	if _, err := parse("task.config", map[string]any{"image": "shop:${meta.version}", "work_dir": "${meta.dir}", "network_mode": "${meta.net}"}); err != nil {
		t.Error(err)
	}
}

func TestAllThatIsWrongIsSaid(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"image", "Shop:1", "not the name of an image"}, {"image", "", "missing"}, {"imag", "x", `did you mean "image"?`},
		{"work_dir", "srv", "not absolute"}, {"labels", map[string]any{"proffer.task": "x"}, "the driver's"},
		{"pid_mode", "alloc", "use the driver exec or oci"}, {"ipc_mode", "alloc", "use the driver exec or oci"}, {"ipv4_address", "fd00::9", "no such address"}, {"ipv6_address", "10.0.0.9", "no such address"}, {"ipv4_address", "10.0.0.9", "gives none that is asked for"},
		{"network", []any{map[string]any{"name": "a", "ipv6_address": "10.0.0.9"}}, "no such address"}, {"network", []any{map[string]any{"name": "bridge"}}, "in bridge already"},
		{"network", []any{map[string]any{"name": "host"}}, "beside another one"}, {"network", []any{map[string]any{"name": "a", "ip": "10.0.0.9"}}, "no such setting"},
		{"network", []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}, "in a already"}, {"network", []any{map[string]any{}}, "missing"},
		{"network", slices.Repeat([]any{map[string]any{"name": "${meta.net}"}}, 8), "9 networks are more than 8"},
		{"extra_hosts", []any{"db"}, "name:address"}, {"shm_size", 64.0, "64KiB"}, {"pids", 1.0, "from 16"},
		{"cap_add", []any{"net admin"}, "capability"}, {"ulimit", map[string]any{"nofiles": "1"}, `did you mean "nofile"?`},
		{"ulimit", map[string]any{"nofile": "5:3"}, "soft:hard"}, {"ulimit", map[string]any{"nofile": "many"}, "soft:hard"},
		{"volumes", []any{"/data"}, "source:target"}, {"volumes", []any{"/a/../b:/data"}, `"/b"`}, {"volumes", []any{"data/x:/x"}, "below local/"},
		{"volumes", []any{"local/../secrets:/x"}, "below local/"}, {"volumes", []any{"local:/"}, "below the root"}, {"volumes", []any{"local:/proc"}, "of its own"},
		{"volumes", []any{"/srv:/alloc"}, "of its own"},
		{"mount", []any{map[string]any{"type": "nfs", "target": "/x"}}, "volume"}, {"mount", []any{map[string]any{"target": "/x"}}, "no source"},
		{"mount", []any{map[string]any{"type": "tmpfs", "source": "x", "target": "/x"}}, "no source"},
		{"mount", []any{map[string]any{"type": "volume", "source": "v", "target": "/x", "size": "1MiB"}}, "tmpfs"},
		{"mount", []any{map[string]any{"type": "bind", "source": "/v", "target": "/x", "driver": "rexray"}}, "are for a volume"},
		{"mount", []any{map[string]any{"type": "volume", "source": "v", "target": "/x", "driver": "a b"}}, "not the name of a plugin"},
		{"volume_driver", "../x", "not the name of a plugin"},
		{"devices", []any{"/etc/passwd"}, "/dev/name"}, {"devices", []any{"/dev/../etc/x"}, "/dev/name"}, {"devices", []any{"/dev/x:/dev/x:q"}, "/dev/name"},
		{"cpuset_cpus", "0-x", "not a list of cores"}, {"auth", map[string]any{"username": "x"}, "needs username and password"},
		{"auth", map[string]any{"variable": "eng/registry", "password": "x"}, "there is a variable, too"}, {"auth", map[string]any{"variable": "registry"}, "not a role and a name"},
		{"log_driver", "none", "alloc logs"}, {"log_options", map[string]any{"tag": "x"}, "those of a log_driver"},
		{"options", map[string]any{"Binds": []any{"/:/host"}}, "decided by mount"}, {"options", map[string]any{"binds": []any{"/:/host"}}, "no such field"},
		{"options", map[string]any{"OomScoreAdi": 1.0}, "did you mean OomScoreAdj?"}, {"options", map[string]any{"OomScoreAdj": "high"}, "as the engine's API has it"},
	} {
		config := map[string]any{"image": "busybox", c.key: c.value}
		err := (*Driver)(nil).Validate("task.config", config)
		if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "task.config."+c.key) {
			t.Errorf("%s = %v: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if err := (*Driver)(nil).Validate("c", map[string]any{"image": "x", "network_mode": "none", "network": []any{map[string]any{"name": "a"}}}); err == nil {
		t.Error("a network beside none is taken")
	}
	if err := (*Driver)(nil).Validate("c", map[string]any{"image": "x", "network_mode": "host", "ports": []any{"http"}}); err == nil {
		t.Error("ports with the host's network are taken")
	}
}

// TestPermissions: what reaches beyond a task's own needs the node's word, and each has its own.
func TestPermissions(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"open", "closed"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "closed"), filepath.Join(dir, "open/link")); err != nil {
		t.Skip("no links here:", err)
	}
	open := filepath.Join(dir, "open")
	volume := func(driver, option string) []any {
		return []any{map[string]any{"type": "volume", "source": "v", "target": "/x", "driver": driver, "driver_options": map[string]any{option: "x"}}}
	}
	for _, c := range []struct {
		key   string
		value any
		allow func(*Options)
	}{
		{"privileged", true, func(o *Options) { o.Privileged = true }},
		{"cap_add", []any{"sys_admin"}, func(o *Options) { o.Capabilities = []string{"SYS_ADMIN"} }},
		{"cap_add", []any{"sys_admin", "net_admin"}, func(o *Options) { o.Capabilities = []string{"ALL"} }},
		{"cap_add", []any{"kill"}, nil},
		{"pid_mode", "host", func(o *Options) { o.Privileged = true }},
		{"ipc_mode", "host", func(o *Options) { o.Privileged = true }},
		{"ipc_mode", "private", nil},
		{"userns_mode", "host", func(o *Options) { o.Privileged = true }},
		{"network_mode", "container:other", func(o *Options) { o.Privileged = true }},
		{"network_mode", "host", nil},
		{"security_opt", []any{"seccomp=unconfined"}, func(o *Options) { o.Privileged = true }},
		{"security_opt", []any{"no-new-privileges"}, nil},
		{"seccomp", "unconfined", func(o *Options) { o.Privileged = true }},
		{"seccomp", "web", nil},
		{"options", map[string]any{"MaskedPaths": []any{}}, func(o *Options) { o.Privileged = true }},
		{"options", map[string]any{"BlkioWeight": 100.0}, nil},
		{"devices", []any{"/dev/snd/x"}, func(o *Options) { o.Devices = []string{"/dev/snd"} }},
		{"log_driver", "journald", func(o *Options) { o.LogDrivers = []string{"journald"} }},
		{"runtime", "runsc", func(o *Options) { o.Runtimes = []string{"runsc"} }},
		{"volumes", []any{"data:/data"}, func(o *Options) { o.Volumes = true }},
		{"volumes", []any{"data:/data"}, func(o *Options) { o.VolumeDrivers = []string{"local"} }},
		{"mount", volume("rexray", "size"), func(o *Options) { o.VolumeDrivers = []string{"rexray"} }},
		{"mount", volume("local", "device"), func(o *Options) { o.VolumeDrivers = []string{"local"} }},
		{"mount", volume("", "device"), func(o *Options) { o.VolumeDrivers = []string{"local"} }},
		{"volumes", []any{open + ":/data"}, func(o *Options) { o.HostPaths = []string{open} }},
		{"volumes", []any{"local/data:/data"}, nil},
	} {
		spec := &drivers.Spec{ID: "a/t/1", Task: &structs.Task{Config: map[string]any{"image": "busybox", c.key: c.value}}}
		_, err := New(Options{}).config(spec)
		if c.allow == nil {
			if err != nil {
				t.Errorf("%s = %v is refused: %v", c.key, c.value, err)
			}
			continue
		}
		if k := structs.KindOf(err); k != structs.Forbidden && k != structs.Invalid || !strings.Contains(err.Error(), "this node does not allow") {
			t.Errorf("%s = %v without permission: %v", c.key, c.value, err)
		}
		var o Options
		c.allow(&o)
		if _, err := New(o).config(spec); err != nil {
			t.Errorf("%s = %v with permission: %v", c.key, c.value, err)
		}
	}
	for _, driver := range []string{"", "local", "other"} {
		spec := &drivers.Spec{ID: "a/t/1", Task: &structs.Task{Config: map[string]any{"image": "busybox", "mount": volume(driver, "device")}}}
		if _, err := New(Options{Volumes: true, VolumeDrivers: []string{"rexray"}}).config(spec); structs.KindOf(err) != structs.Forbidden {
			t.Errorf("options of the volume driver %q: %v", driver, err)
		}
	}
	allowed := New(Options{HostPaths: []string{open}})
	for _, source := range []string{dir, filepath.Join(dir, "closed"), filepath.Join(open, "link"), filepath.Join(open, "none")} {
		spec := &drivers.Spec{ID: "a/t/1", Task: &structs.Task{Config: map[string]any{"image": "busybox", "volumes": []any{source + ":/data"}}}}
		if _, err := allowed.config(spec); err == nil {
			t.Errorf("%s may be mounted", source)
		}
	}
	fenced := &drivers.Spec{ID: "a/t/1", Fence: &drivers.Fence{}, Task: &structs.Task{Config: map[string]any{"image": "busybox"}}}
	if _, err := New(Options{}).config(fenced); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("a fence that cannot be kept: %v", err)
	}
}

// TestOwnFoldersAreMounted: a missing folder is made, and a link that an earlier start left leads nowhere.
func TestOwnFoldersAreMounted(t *testing.T) {
	spec := &drivers.Spec{ID: "a/t/1", TaskDir: t.TempDir(), Task: &structs.Task{}}
	if err := os.Mkdir(filepath.Join(spec.TaskDir, "local"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := bind(spec, &mountConfig{at: "mount[0]", source: "local/a/b"})
	if want := filepath.Join(spec.TaskDir, "local/a/b"); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if info, err := os.Stat(got); err != nil || !info.IsDir() {
		t.Errorf("it was not made: %v", err)
	}
	for _, to := range []string{"/etc", "a"} {
		link := filepath.Join(spec.TaskDir, "local/link")
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Symlink(to, link); err != nil {
			t.Skip("no links here:", err)
		}
		for _, source := range []string{"local/link", "local/link/b"} {
			if got, err := bind(spec, &mountConfig{source: source}); err == nil {
				t.Errorf("%s -> %s is mounted as %s", source, to, got)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	var r container.Resources
	limits(drivers.Limits{CPU: 1500, CPULimit: 2000, Memory: 64 << 20, MemoryMax: 128 << 20}, &r)
	if r.CPUShares != 1536 || r.CPUQuota != 200_000 || r.Memory != 128<<20 || r.MemorySwap != 128<<20 || r.MemoryReservation != 64<<20 {
		t.Errorf("%+v", r)
	}
	r = container.Resources{}
	limits(drivers.Limits{CPU: 1, Memory: 1 << 20, MemoryMax: 1 << 20}, &r)
	if r.CPUShares != 2 || r.Memory != minMemory || r.MemoryReservation != 0 || r.CPUQuota != 0 {
		t.Errorf("the least: %+v", r)
	}
}

// TestPortsArePublished: a port of the node leads to the port inside that the job names, or to the same one.
func TestPortsArePublished(t *testing.T) {
	spec := &drivers.Spec{ID: "a/t/1", Task: &structs.Task{}, Ports: []structs.AssignedPort{
		{Label: "http", Host: "10.0.0.1", Port: 20001, To: 80}, {Label: "http", Host: "fd00::1", Port: 20001, To: 80}, {Label: "dns", Port: 20002}}}
	conf, host := &container.Config{ExposedPorts: network.PortSet{}}, &container.HostConfig{PortBindings: network.PortMap{}}
	if err := publish(spec, &config{ports: []string{"http", "dns/udp", "dns"}}, conf, host); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(host.PortBindings)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"20002/tcp":[{"HostIp":"","HostPort":"20002"}],"20002/udp":[{"HostIp":"","HostPort":"20002"}],` +
		`"80/tcp":[{"HostIp":"10.0.0.1","HostPort":"20001"},{"HostIp":"fd00::1","HostPort":"20001"}]}`
	if string(raw) != want || len(conf.ExposedPorts) != 3 {
		t.Errorf("%s\nwant %s", raw, want)
	}
	if err := publish(spec, &config{ports: []string{"https"}}, conf, host); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), `"https"`) {
		t.Errorf("a port that is not there: %v", err)
	}
}
