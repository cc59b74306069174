package structs

import (
	"strings"
	"testing"
)

func diskJob(driver string, change func(*Group)) *Job {
	g := &Group{Name: "g", Volumes: []*GroupVolume{{Name: "v", Plugin: "p", Size: 1 << 30, AccessType: AccessBlock}},
		Tasks: []*Task{{Name: "t", Driver: driver, VolumeMounts: []*VolumeMount{{Volume: "v", Destination: "/dev/v"}}}}}
	change(g)
	j := &Job{Name: "j", Groups: []*Group{g}}
	j.Canonicalize()
	return j
}

func TestBlockVolumes(t *testing.T) {
	for name, x := range map[string]struct {
		driver string
		change func(*Group)
		want   string // empty: it is valid
	}{
		"as it is":            {"oci", func(*Group) {}, ""},
		"one that is there":   {"exec", func(g *Group) { g.Volumes[0] = &GroupVolume{Name: "v", AccessType: AccessBlock} }, ""},
		"not below /dev":      {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/data" }, "not a path below /dev"},
		"/dev itself":         {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/dev" }, "not a path below /dev"},
		"out of it":           {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/dev/../data" }, "not a path below /dev"},
		"a device of its own": {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/dev/null" }, "that tasks have of their own"},
		"below one":           {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/dev/pts/9" }, "that tasks have of their own"},
		"of a GPU":            {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Destination = "/dev/nvidia0" }, "that tasks have of their own"},
		"files below /dev":    {"oci", func(g *Group) { g.Volumes[0].AccessType = AccessMount }, "every task has a /dev of its own"},
		"a file system":       {"oci", func(g *Group) { g.Volumes[0].FSType = "ext4" }, "a block device has no file system"},
		"on a disk of a node": {"oci", func(g *Group) { g.Volumes[0].Plugin = "" }, "a block device is made by a plugin"},
		"of the host":         {"oci", func(g *Group) { g.Volumes[0] = &GroupVolume{Name: "v", Type: HostVolume, AccessType: AccessBlock} }, "are for persistent volumes"},
		"something else":      {"oci", func(g *Group) { g.Volumes[0].AccessType = "raw" }, "access_type"},
		"propagation":         {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].Propagation = PropagationPrivate }, "nothing is mounted below a block device"},
		"to read":             {"oci", func(g *Group) { g.Tasks[0].VolumeMounts[0].ReadOnly = true }, ""},
		"to read with exec":   {"exec", func(g *Group) { g.Tasks[0].VolumeMounts[0].ReadOnly = true }, "cannot keep the superuser"},
	} {
		err := diskJob(x.driver, x.change).Validate(nil)
		switch {
		case x.want == "" && err != nil, x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A group that may have to wait for a node which is cut off is warned of, and no other.
func TestWarnings(t *testing.T) {
	any := func(string, map[string]any) error { return nil }
	drivers := ConfigChecks{"docker": {Config: any, Unfenced: "nobody ends it"}, "exec": {Config: any}}
	for name, x := range map[string]struct {
		driver string
		volume *GroupVolume
		warns  bool
	}{
		"a plugin makes it":       {"docker", &GroupVolume{Name: "v", Plugin: "p", Size: 1 << 30}, true},
		"one that is there":       {"docker", &GroupVolume{Name: "v"}, true},
		"on the disk of the node": {"docker", &GroupVolume{Name: "v", Size: 1 << 30}, false},
		"shared":                  {"docker", &GroupVolume{Name: "v", Access: AccessShared}, false},
		"of the host":             {"docker", &GroupVolume{Name: "v", Type: HostVolume}, false},
		"that is fenced":          {"exec", &GroupVolume{Name: "v"}, false},
	} {
		j := diskJob(x.driver, func(g *Group) {
			g.Volumes[0], g.Tasks[0].VolumeMounts[0].Destination = x.volume, "/v"
			if x.driver == "docker" {
				g.OnLost = OnLostReplace
			}
		})
		if err := j.Validate(drivers); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := strings.Join(j.Warnings(drivers), "\n")
		if x.warns != (got != "") || x.warns && !strings.Contains(got, `volume "v"`) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A job that everybody reads the password of a registry in is warned of, and one that names a variable is not.
func TestPasswordsInAJobAreWarnedOf(t *testing.T) {
	const secret = "hunter2"
	clear, named := map[string]any{"username": "me", "password": secret}, map[string]any{"variable": "default/registry"}
	for name, x := range map[string]struct {
		auth  any // of the config
		mount *ImageLogin
		want  string
	}{
		"none":                 {nil, nil, ""},
		"variables":            {named, &ImageLogin{Variable: "default/registry"}, ""},
		"in clear":             {clear, nil, `group "g": task "t": whoever may read the job reads the password that its image is asked for with`},
		"as a block":           {[]any{clear}, nil, "its image"},
		"of a mount":           {named, &ImageLogin{Username: "me", Password: secret}, "the image at /models"},
		"what is not readable": {7, nil, ""},
	} {
		task := &Task{Name: "t", Driver: "oci", Config: map[string]any{"image": "shop:1"}, ImageMounts: []*ImageMount{{Image: "models:7", Destination: "/models", Auth: x.mount}}}
		if x.auth != nil {
			task.Config[LoginKey] = x.auth
		}
		j := &Job{Name: "j", Groups: []*Group{{Name: "g", Tasks: []*Task{task}}}}
		j.Canonicalize()
		got := strings.Join(j.Warnings(nil), "\n")
		if (x.want == "") != (got == "") || !strings.Contains(got, x.want) || strings.Contains(got, secret) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}
