//go:build linux && system

package docker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/structs"
)

// Tasks of an allocation join the network of a container that does nothing; without it they are told why they cannot start.
func TestTasksJoinTheNetworkOfTheirAllocation(t *testing.T) {
	d := driver(t, shared, nil)
	ctx := within(t)
	s := spec(t, "hostname; cat /etc/hosts; readlink /proc/self/ns/net; grep -c : /proc/net/dev", map[string]any{"network_mode": "default"})
	ask := drivers.Sandbox{Alloc: s.Alloc, Job: "job", Group: "group", Hostname: "web-1"}
	path, err := d.Sandbox(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := d.Sandbox(ctx, ask); err != nil || again != path {
		t.Errorf("%s, then %s: %v", path, again, err)
	}
	list, err := shared.API.ContainerList(ctx, client.ContainerListOptions{Filters: client.Filters{}.Add("label", "proffer.alloc="+string(s.Alloc))})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	r, err := shared.API.ContainerInspect(ctx, list.Items[0].ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if limit := r.Container.HostConfig.PidsLimit; limit != nil && *limit > 0 && *limit < drivers.MinPids {
		t.Errorf("it dies when its runtime needs another thread: %d", *limit)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("10.1.2.3 web-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(path, kept, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(kept, unix.MNT_DETACH)
	var st unix.Stat_t
	if err := unix.Stat(kept, &st); err != nil {
		t.Fatal(err)
	}
	s.Netns, s.Files = kept, []drivers.Mount{{Source: hosts, Target: "/etc/hosts", ReadOnly: true}}
	task := start(t, d, s)
	if exit := wait(t, task); exit.Code != 0 {
		t.Errorf("%+v", exit)
	}
	if got, want := text(t, s, "stdout"), fmt.Sprintf("web-1\n10.1.2.3 web-1\nnet:[%d]\n1\n", st.Ino); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := task.Destroy(ctx); err != nil {
		t.Error(err)
	}
	if err := d.Unsandbox(ctx, s.Alloc); err != nil {
		t.Error(err)
	}
	if err := d.Unsandbox(ctx, s.Alloc); err != nil {
		t.Error(err)
	}
	if _, err := d.Start(ctx, s); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "the engine was started anew") {
		t.Errorf("%v", err)
	}
	if fresh, err := d.Sandbox(ctx, ask); err != nil {
		t.Error(err)
	} else if _, err := d.Start(ctx, s); structs.KindOf(err) != structs.Invalid { // it is another network
		t.Errorf("%s: %v", fresh, err)
	}
	if err := d.Sweep(ctx, func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	if _, err := d.Sandbox(ctx, ask); err != nil {
		t.Error(err)
	}
	if err := d.Unsandbox(ctx, s.Alloc); err != nil {
		t.Error(err)
	}
}

// What keeps the network of an allocation stays for as long as the node knows the allocation, whatever becomes of its tasks.
func TestTheNetworkStaysWithItsAllocation(t *testing.T) {
	d := driver(t, shared, func(o *docker.Options) { o.Owner, o.KeepEvery = "networks", time.Millisecond })
	path := func(alloc structs.AllocID) string {
		t.Helper()
		path, err := d.Sandbox(within(t), drivers.Sandbox{Alloc: alloc, Job: "job", Group: "group", Hostname: "web-1"})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	here, comes, gone := path("here"), path("comes"), path("gone")
	ctx, cancel := context.WithCancel(within(t))
	looks := map[string]int{}
	d.Keep(ctx, func(id string) bool { // ends with ctx
		if looks[id]++; looks[id] > 3 {
			cancel()
		}
		return id == "here" || id == "comes" && looks[id] > 1
	})
	if looks["gone"] != 2 {
		t.Errorf("looked %v", looks)
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("what nobody knows is there: %v", err)
	}
	if path("here") != here || path("comes") != comes {
		t.Error("another network was made")
	}
	for _, alloc := range []structs.AllocID{"here", "comes"} {
		if err := d.Unsandbox(within(t), alloc); err != nil {
			t.Error(err)
		}
	}
}
