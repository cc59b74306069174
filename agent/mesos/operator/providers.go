package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"context"
	"net/http"
	"strconv"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// What a node has beside what it is made of: images, and the storage plugins that Mesos calls resource providers.

// pruneImages removes images that no task uses. The node looks itself after those that nobody used for long.
func (c *Clients) pruneImages(ctx context.Context, call *wire.AgentCall, _ *wire.AgentResponse) error {
	var keep []string
	if call.PruneImages == nil {
		call.PruneImages = &wire.PruneImages{}
	}
	for i := range call.PruneImages.Excluded {
		image := &call.PruneImages.Excluded[i]
		if image.Type != wire.ImageDocker || image.Docker == nil || image.Docker.Name == "" {
			return mesos.Refuse(http.StatusBadRequest, "Excluded images are of the type DOCKER, with a name: there are no others here")
		}
		keep = append(keep, image.Docker.Name)
	}
	return c.Client.PruneImages(ctx, keep)
}

// storageProvider is the type under which Mesos knows what makes volumes of a storage plugin.
const storageProvider = "org.apache.mesos.rp.local.storage"

// getProviders lists the storage plugins of the node. What they could make is known to the storage alone: there is no total.
func (c *Clients) getProviders(_ context.Context, _ *wire.AgentCall, out *wire.AgentResponse) error {
	out.Providers = &wire.GetResourceProviders{}
	plugins := c.Client.Node().Plugins
	for _, name := range sorted(plugins) {
		p := plugins[name]
		info := wire.ResourceProviderInfo{ID: &wire.ID{Value: name}, Type: storageProvider, Name: name,
			Storage: &wire.StorageProvider{Plugin: wire.CSIPluginInfo{Type: p.Vendor, Name: &name}}}
		say := func(attribute, value string) {
			info.Attributes = append(info.Attributes, wire.Attribute{Name: attribute, Type: wire.ValueText, Text: &wire.Text{Value: value}})
		}
		if p.Version != "" {
			say("version", p.Version)
		}
		if p.Node != nil {
			say("node.healthy", strconv.FormatBool(p.Node.Healthy))
		}
		if p.Controller != nil {
			say("controller.healthy", strconv.FormatBool(p.Controller.Healthy))
		}
		out.Providers.Providers = append(out.Providers.Providers, wire.ResourceProvider{Info: info})
	}
	return nil
}

// pluginsAreJobs refuses the calls with which operators of Mesos configure storage on an agent: the region runs plugins as it runs all work,
// and an agent that had some of its own would use what the region gives to others.
func pluginsAreJobs(_ *Clients, _ context.Context, call *wire.AgentCall, _ *wire.AgentResponse) error {
	do := "submit a job whose task has a csi_plugin block to begin one"
	switch *call.Type {
	case wire.AgentUpdateResourceProviderConfig:
		do = "submit its job again with what is to change"
	case wire.AgentRemoveResourceProviderConfig:
		do = "stop its job with 'proffer job stop' to end one"
	case wire.AgentMarkResourceProviderGone:
		do = "stop its job with 'proffer job stop', and give up what it held with 'proffer volume detach -force' and 'proffer volume delete -forget'"
	}
	return mesos.Refuse(http.StatusNotImplemented, "%s is not served: storage plugins are tasks of jobs, and an agent has none of its own; %s", call.Type, do)
}
