package csi

import (
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// No answer of a plugin makes the node fall over, however it is cut or changed.
func TestAnswersThatAreBroken(t *testing.T) {
	var volume, context, place, whole message
	volume.number(1, 1<<40)
	volume.text(2, "vol-1")
	context.text(1, "name")
	context.text(2, "value")
	volume.bytes(3, context)
	place.texts(1, map[string]string{"zone": "a"})
	volume.bytes(5, place)
	whole.bytes(1, volume)
	a := &Answer{}
	if err := made(whole, a); err != nil || a.External != "vol-1" || a.Capacity != 1<<40 || a.Context["name"] != "value" || a.Topology[0]["zone"] != "a" {
		t.Fatalf("%+v, %v", a, err)
	}
	for i := range whole {
		made(whole[:i], &Answer{})
		for bit := range 8 {
			bent := append(message(nil), whole...)
			bent[i] ^= 1 << bit
			made(bent, &Answer{})
			capabilities(bent, 1)
		}
	}
	if err := made(whole[:len(whole)-1], &Answer{}); err == nil {
		t.Error("a cut answer is taken")
	}
	if err := made(nil, &Answer{}); err == nil {
		t.Error("a volume without a name is taken")
	}
	for name, change := range map[string]func(*message){
		"a name":    func(m *message) { m.text(2, strings.Repeat("x", 2000)) },
		"a context": func(m *message) { m.texts(3, map[string]string{"a": strings.Repeat("x", 5000)}) },
		"places": func(m *message) {
			for range 100 {
				m.bytes(5, place)
			}
		},
	} {
		more, whole := slices.Clone(volume), message{}
		change(&more)
		whole.bytes(1, more)
		if err := made(whole, &Answer{}); structs.KindOf(err) != structs.Unavailable { // it is not the last word: the volume is there
			t.Errorf("%s that is too long: %v", name, err)
		}
	}
}

// A plugin's socket is reached however long its path is, and nothing else is in its place.
func TestSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "9")
		w.Header().Set("Grpc-Message", "it is attached to %5B2%5D")
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(l)
	defer server.Close()
	if err := os.Symlink(short, filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	s := newSocket("p", dir)
	if err := s.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid argument") {
		t.Errorf("a link: %v", err)
	}
	os.Remove(filepath.Join(dir, socketName))
	if err := os.Rename(short, filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	err = s.ready(t.Context())
	if structs.KindOf(err) != structs.Conflict || !strings.Contains(err.Error(), "it is attached to [2]") {
		t.Errorf("%v", err)
	}
}

// answering is a plugin that gives these answers by method, and has nothing to say to other calls. It is reached in the folder.
func answering(t *testing.T, folder string, answers map[string]message) {
	l, err := net.Listen("unix", filepath.Join(folder, socketName))
	if err != nil {
		t.Skip(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		answer := answers[strings.TrimPrefix(r.URL.Path, "/csi.v1.")]
		w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer))), answer...))
		w.Header().Set("Grpc-Status", cmp.Or(string(answers["status"]), "0"))
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// What a plugin said of itself stands while it does not answer, and what the region would not keep is not taken.
func TestPluginSaysTooMuch(t *testing.T) {
	var info, node, place message
	info.text(1, "vendor")
	node.text(1, "as-n")
	place.texts(1, map[string]string{"zone": "a"})
	node.bytes(3, place)
	answers := map[string]message{"Identity/GetPluginInfo": info, "Node/NodeGetInfo": node}
	folder, err := os.MkdirTemp("", "csi") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	answering(t, folder, answers)
	x := &task{record: record{Plugin: "p", Node: true}, folder: folder, socket: newSocket("p", folder)}
	said, at, err := x.look(t.Context(), nil)
	if err != nil || at == nil || said.vendor != "vendor" || said.node.ID != "as-n" || said.node.Topology["zone"] != "a" {
		t.Fatalf("%+v, %v", said, err)
	}
	x.said = said
	place = nil
	place.texts(1, map[string]string{"zone": strings.Repeat("a", 5000)})
	node.bytes(3, place)
	answers["Node/NodeGetInfo"] = node
	if again, at, err := x.look(t.Context(), at); err != nil || at == nil || again != said {
		t.Errorf("it is asked again: %+v, %v", again, err)
	}
	if again, at, err := x.look(t.Context(), nil); structs.KindOf(err) != structs.Unavailable || at != nil || again != said {
		t.Errorf("%+v, %v", again, err)
	}
	os.Remove(filepath.Join(folder, socketName))
	if again, at, err := x.look(t.Context(), at); err == nil || at != nil || again != said {
		t.Errorf("%+v, %v", again, err)
	}
}

// A plugin is known again after a restart of the agent, and gone with its allocation.
func TestPluginsAreRemembered(t *testing.T) {
	dir := t.TempDir()
	p, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	need := &runner.Need{Alloc: &structs.Allocation{ID: "a1"}, Group: &structs.Group{Tasks: []*structs.Task{{Name: "t", Driver: "exec",
		Config: map[string]any{"isolation": "none"}, CSIPlugin: &structs.CSIPlugin{ID: "p", Type: structs.PluginBoth, MountDir: "/csi"}}}}}
	given := &store.Given{}
	if err := p.Provide(t.Context(), need, given); err != nil || !strings.HasPrefix(given.Env["t"]["CSI_ENDPOINT"], "unix://"+dir) {
		t.Fatalf("%v, %v", given, err)
	}
	if p, err = Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if n := p.Nodes()["p"]; n == nil || n.Node.Healthy || n.Controller.Healthy || n.Node.Why == "" {
		t.Errorf("%+v", n)
	}
	if _, err := p.Controller(context.Background(), &Order{Do: Make, Volume: &structs.Volume{ID: "v", CSI: &structs.CSIVolume{Plugin: "p"}}}); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("%v", err)
	}
	if err := p.Release(t.Context(), "a1"); err != nil || p.Nodes() != nil {
		t.Errorf("%v, %v", p.Nodes(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A plugin that is back, and gone again, is not one that has been gone since the first time.
func TestAPluginIsGoneSinceItLastWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		here := &runner.Need{Alloc: &structs.Allocation{ID: "a1"}, Group: &structs.Group{Tasks: []*structs.Task{{Name: "t", Driver: "exec",
			Config: map[string]any{"isolation": "none"}, CSIPlugin: &structs.CSIPlugin{ID: "p", Type: structs.PluginNode}}}}}
		for range 2 {
			if p.abandoned("p") {
				t.Error("it counts as gone at once")
			}
			time.Sleep(abandonAfter)
			if !p.abandoned("p") {
				t.Error("it is not gone after the time for that")
			}
			if err := p.Provide(t.Context(), here, &store.Given{}); err != nil || p.abandoned("p") {
				t.Errorf("it is here: %v", err)
			}
			if err := p.Release(t.Context(), "a1"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An order of a leader that is gone does not undo what its successor did.
func TestLateOrders(t *testing.T) {
	var o orders
	x := func(number uint64, node structs.NodeID) *Order {
		return &Order{Volume: &structs.Volume{ID: "v", Name: "v"}, Node: node, Number: number}
	}
	end, err := o.begin(t.Context(), x(7, "n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.begin(ctx, x(8, "n")); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("beside another one: %v", err)
	}
	end()
	if _, err := o.begin(t.Context(), x(6, "n")); structs.KindOf(err) != structs.Conflict {
		t.Errorf("late: %v", err)
	}
	if end, err = o.begin(t.Context(), x(6, "m")); err != nil {
		t.Fatal(err)
	}
	end()
}

// What a plugin can never make is no error where a disk of the node is to be made: one could come from anywhere, and leave it open what there is.
func TestDiskThatCannotBeMade(t *testing.T) {
	folder, err := os.MkdirTemp("", "csi") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	answers := map[string]message{"status": message("8")}
	answering(t, folder, answers)
	p, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p.tasks["x"] = &task{record: record{Plugin: "p", Controller: true}, folder: folder, socket: newSocket("p", folder), said: &about{}}
	order := func(raw *structs.RawVolume) *Order {
		return &Order{Do: Make, Number: 7, Size: 1 << 20, Volume: &structs.Volume{ID: "v", Name: "v", Access: structs.AccessExclusive, CSI: &structs.CSIVolume{Plugin: "p", Raw: raw}}}
	}
	disk := &structs.RawVolume{Pool: "fast"}
	for status, none := range map[string]bool{"8": true, "11": true, "3": true, "14": false, "10": false} {
		answers["status"] = message(status)
		a, err := p.Controller(t.Context(), order(disk))
		if none && (err != nil || a.None == "") || !none && structs.KindOf(err) != structs.Unavailable {
			t.Errorf("status %s: %+v, %v", status, a, err)
		}
		if a, err := p.Controller(t.Context(), order(nil)); err == nil {
			t.Errorf("status %s for a volume: %+v", status, a)
		}
	}
	late := order(disk)
	late.Number = 6
	if _, err := p.Controller(t.Context(), late); structs.KindOf(err) != structs.Conflict {
		t.Errorf("an order of a leader that is gone: %v", err)
	}
}
