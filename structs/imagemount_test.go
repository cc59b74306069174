package structs

import (
	"strings"
	"testing"
)

func TestImageMounts(t *testing.T) {
	for name, x := range map[string]struct {
		mount  ImageMount
		driver string
		want   string // empty: it is valid
	}{
		"of a container":         {ImageMount{Image: "models:7", Destination: "/models", Writable: true}, "oci", ""},
		"of a program":           {ImageMount{Image: "docker-archive:local/models.tar", Destination: "/models"}, "exec", ""},
		"of an engine":           {ImageMount{Image: "models:7", Destination: "/models"}, "docker", ""},
		"of another driver":      {ImageMount{Image: "models:7", Destination: "/models"}, "mock", "the mock driver mounts no images"},
		"with a login":           {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{"", "me", "hunter2"}}, "oci", ""},
		"with half of a login":   {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Username: "me"}}, "oci", "image_mount[0].auth: it needs username and password"},
		"with a variable":        {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Variable: "default/registry"}}, "docker", ""},
		"with both":              {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Variable: "default/registry", Username: "me"}}, "oci", "image_mount[0].auth: there is a variable, too"},
		"with no variable":       {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Variable: "${meta.x}"}}, "oci", "it is not a role and a name"},
		"with a framework's":     {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Variable: "@marathon/x"}}, "oci", "may not read variable"},
		"with another role's":    {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{Variable: "eng/registry"}}, "oci", `group.g.task.t: work of role "default" may not read variable "eng/registry", which the image at /models is to be asked for with`},
		"with a long login":      {ImageMount{Image: "models:7", Destination: "/models", Auth: &ImageLogin{"", "me", strings.Repeat("x", 64<<10)}}, "oci", "are longer than 65536 bytes"},
		"of nothing":             {ImageMount{Destination: "/models"}, "oci", "image_mount[0].image: there is none"},
		"a name with a space":    {ImageMount{Image: "models 7", Destination: "/models"}, "oci", "not the name of an image"},
		"a name that is unknown": {ImageMount{Image: "models:${meta.x}", Destination: "/models"}, "oci", "not the name of an image"},
		"nowhere":                {ImageMount{Image: "models:7"}, "oci", "not an absolute path"},
		"over its own folder":    {ImageMount{Image: "models:7", Destination: "/local/x"}, "oci", "every task has a /local of its own"},
		"over another":           {ImageMount{Image: "models:7", Destination: "/scratch"}, "oci", "there are two mounts"},
	} {
		task := &Task{Name: "t", Driver: x.driver, Tmpfs: []*Tmpfs{{Destination: "/scratch"}}, ImageMounts: []*ImageMount{&x.mount}}
		j := &Job{Name: "j", Groups: []*Group{{Name: "g", Tasks: []*Task{task}}}}
		j.Canonicalize()
		err := j.Validate(nil)
		switch {
		case x.want == "" && err != nil, x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %v", name, err)
		}
	}
	plain := &Task{Name: "t", Driver: "exec", Config: map[string]any{"isolation": "none"}, ImageMounts: []*ImageMount{{Image: "x", Destination: "/x"}, nil}}
	j := &Job{Name: "j", Groups: []*Group{{Name: "g", Tasks: []*Task{plain}}}}
	j.Canonicalize()
	if err := j.Validate(nil); err == nil || !strings.Contains(err.Error(), "without isolation") || !strings.Contains(err.Error(), "image_mount[1]: an image_mount is missing") {
		t.Errorf("without isolation: %v", err)
	}
}
