package structs

import "strings"

// ImageMount is an image whose files a task sees in a folder. The node's oci driver keeps it and mounts it, whichever driver runs the task.
type ImageMount struct {
	Image       string `json:"image,omitempty" doc:"The image, as the oci driver has it: a name with a tag or a digest, or one in the folder of the task (oci:local/image, docker-archive:local/image.tar)."`
	Destination string `json:"destination,omitempty" doc:"Where the task sees its files, an absolute path such as /models."`
	Writable    bool   `json:"writable,omitempty" doc:"The task may write there. What it writes counts for the disk of its group, and is gone with each start."`
	ForcePull   bool   `json:"force_pull,omitempty" doc:"The registry is asked at each start, for tags that move."`

	Auth *ImageLogin `json:"auth,omitempty" hcl:"block" doc:"What the registry is asked with. Without it, with what the node has for it."`
}

// ImagesDriver is the driver that keeps the images of image_mount blocks.
const ImagesDriver = "oci"

// ImageMountable reports whether tasks of a driver can see images that are mounted for them.
func ImageMountable(driver string) bool {
	return driver == "exec" || driver == ImagesDriver || driver == "docker"
}

func (m *ImageMount) problems(p *Problems, at string, t *Task) {
	switch {
	case m.Image == "":
		p.Add(at+".image", "there is none").Advise("such as image = \"registry.example.com/models:7\"")
	case len(m.Image) > MaxImageName || strings.ContainsAny(m.Image, " \t\n\x00") || strings.Contains(m.Image, "${"):
		p.Add(at+".image", "%.200q is not the name of an image", m.Image).Advise("write a name with a tag or a digest, without spaces and references")
	}
	m.Auth.Problems(p, at+".auth")
	switch {
	case !ImageMountable(t.Driver):
		p.Add(at, "the %s driver mounts no images in its tasks", t.Driver).Advise("use driver = \"oci\", \"docker\" or \"exec\"")
	case t.Driver == "exec" && t.Config["isolation"] == "none":
		p.Add(at, "a task without isolation has no mounts of its own").Advise("leave isolation out, or use driver = \"oci\"")
	}
}
