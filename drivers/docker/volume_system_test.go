//go:build linux && system

package docker_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/structs"
)

// volumePlugin is a volume driver of engines on this machine: its volumes are folders.
type volumePlugin struct {
	name, dir string

	mu   sync.Mutex
	made map[string]map[string]string // options, by volume
}

// newVolumePlugin serves one where engines look for plugins, under a name of its own.
func newVolumePlugin(t *testing.T) *volumePlugin {
	p := &volumePlugin{dir: t.TempDir(), made: map[string]map[string]string{}}
	const folder = "/run/docker/plugins"
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(folder, "proffer-test-*.sock")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	os.Remove(f.Name())
	l, err := net.Listen("unix", f.Name())
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: p}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() }) // and with it the socket
	p.name = strings.TrimSuffix(filepath.Base(f.Name()), ".sock")
	return p
}

func (p *volumePlugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Name string
		Opts map[string]string
	}
	json.NewDecoder(r.Body).Decode(&asked)
	p.mu.Lock()
	defer p.mu.Unlock()
	volume := map[string]any{"Name": asked.Name, "Mountpoint": filepath.Join(p.dir, asked.Name)}
	_, is := p.made[asked.Name]
	answer := map[string]any{}
	switch r.URL.Path {
	case "/Plugin.Activate":
		answer["Implements"] = []string{"VolumeDriver"}
	case "/VolumeDriver.Create":
		p.made[asked.Name] = asked.Opts
		if err := os.MkdirAll(filepath.Join(p.dir, asked.Name), 0o777); err != nil {
			answer["Err"] = err.Error()
		}
	case "/VolumeDriver.Mount", "/VolumeDriver.Path":
		answer = volume
	case "/VolumeDriver.Get":
		answer["Volume"] = volume
		if !is {
			answer = map[string]any{"Err": "there is no such volume"}
		}
	case "/VolumeDriver.List":
		answer["Volumes"] = []any{}
	case "/VolumeDriver.Capabilities":
		answer["Capabilities"] = map[string]string{"Scope": "local"}
	case "/VolumeDriver.Remove":
		delete(p.made, asked.Name)
	}
	json.NewEncoder(w).Encode(answer)
}

// TestVolumesOfAPlugin: a plugin of the engine makes a volume with the options of a mount, which the next container finds again; and a
// volume of another driver with that name is not taken for it.
func TestVolumesOfAPlugin(t *testing.T) {
	p := newVolumePlugin(t)
	d := driver(t, shared, func(o *docker.Options) { o.Volumes, o.VolumeDrivers = true, []string{p.name} })
	volume := p.name + "-shop"
	t.Cleanup(func() { // after its containers: an engine that is started again would wait for the plugin
		if _, err := shared.API.VolumeRemove(context.WithoutCancel(t.Context()), volume, client.VolumeRemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	first := spec(t, "echo kept > /shop/text", map[string]any{"mount": []any{map[string]any{"type": "volume", "source": volume, "target": "/shop",
		"driver": p.name, "driver_options": map[string]any{"size": "5"}}}})
	if _, err := driver(t, shared, func(o *docker.Options) { o.Volumes = true }).Start(within(t), first); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("a plugin that the node does not list: %v", err)
	}
	wait(t, start(t, d, first))
	if raw, err := os.ReadFile(filepath.Join(p.dir, volume, "text")); err != nil || string(raw) != "kept\n" || p.made[volume]["size"] != "5" {
		t.Errorf("the plugin's volume has %q, made with %v: %v", raw, p.made[volume], err)
	}
	again := spec(t, "cat /shop/text", map[string]any{"volumes": []any{volume + ":/shop:ro"}, "volume_driver": p.name})
	wait(t, start(t, d, again))
	if got := text(t, again, "stdout"); got != "kept\n" {
		t.Errorf("the next container reads %q: %s", got, text(t, again, "stderr"))
	}
	other := spec(t, "cat /shop/text", map[string]any{"mount": []any{map[string]any{"type": "volume", "source": volume, "target": "/shop", "driver": "local"}}})
	if task, err := d.Start(within(t), other); err == nil {
		t.Error("a volume of another driver was taken")
		take(t, task)
	}
}
