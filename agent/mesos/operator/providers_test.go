package operator

import (
	"slices"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// PRUNE_IMAGES has the node remove images, but for those that it names; what it names otherwise than as images here is refused and removes nothing.
func TestPruneImages(t *testing.T) {
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		m := &machine{t: t}
		c := m.clients()
		prune := func(keep ...wire.Image) *wire.AgentCall {
			return &wire.AgentCall{Type: new(wire.AgentPruneImages), PruneImages: &wire.PruneImages{Excluded: keep}}
		}
		m.call(c, encoding, prune(wire.Image{Type: wire.ImageDocker}), 400, "type DOCKER, with a name")
		m.call(c, encoding, prune(wire.Image{Type: wire.ImageAPPC, Appc: &wire.AppcImage{Name: "x"}}), 400, "type DOCKER, with a name")
		if m.pruned != 0 {
			t.Error("a bad call removed images")
		}
		m.call(c, encoding, prune(), 200, "")
		m.call(c, encoding, prune(wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "nginx:1.27"}}), 200, "")
		m.call(c, encoding, &wire.AgentCall{Type: new(wire.AgentPruneImages)}, 200, "")
		if m.pruned != 3 || len(m.kept) != 0 {
			t.Errorf("without a word of what stays, the node kept %v", m.kept)
		}
		m.call(c, encoding, prune(wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "nginx:1.27"}}), 200, "")
		if m.pruned != 4 || !slices.Equal(m.kept, []string{"nginx:1.27"}) {
			t.Errorf("the node removed images %d times, and kept %v", m.pruned, m.kept)
		}
	}
}

// Resource providers are the storage plugins of the node, and jobs configure them.
func TestResourceProviders(t *testing.T) {
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		m := &machine{t: t}
		c := m.clients()
		if got := m.ask(c, encoding, wire.AgentGetResourceProviders).Providers; len(got.Providers) != 0 {
			t.Errorf("a node without plugins has %v", got)
		}
		m.plugins = map[string]*structs.NodePlugin{
			"nfs": {Vendor: "nfs.example.org", Version: "1.2", Node: &structs.PluginNodePart{Healthy: true}},
			"ebs": {Vendor: "ebs.example.org", Node: &structs.PluginNodePart{Why: "gone"}, Controller: &structs.PluginControllerPart{Healthy: true}}}
		all := m.ask(c, encoding, wire.AgentGetResourceProviders).Providers.Providers
		if len(all) != 2 || all[0].Info.Name != "ebs" || all[0].Info.Storage.Plugin.Type != "ebs.example.org" || all[1].Info.ID.Value != "nfs" {
			t.Fatalf("%s", wire.JSON.Marshal(m.ask(c, encoding, wire.AgentGetResourceProviders)))
		}
		said := map[string]string{}
		for _, p := range all {
			for _, a := range p.Info.Attributes {
				said[p.Info.Name+" "+a.Name] = a.Text.Value
			}
		}
		if said["ebs node.healthy"] != "false" || said["ebs controller.healthy"] != "true" || said["nfs version"] != "1.2" || len(said) != 4 {
			t.Errorf("what is said of them: %v", said)
		}
		for kind, do := range map[wire.AgentCallType]string{wire.AgentAddResourceProviderConfig: "csi_plugin", wire.AgentUpdateResourceProviderConfig: "again",
			wire.AgentRemoveResourceProviderConfig: "job stop", wire.AgentMarkResourceProviderGone: "volume detach"} {
			m.call(c, encoding, &wire.AgentCall{Type: &kind}, 501, do)
		}
	}
}
