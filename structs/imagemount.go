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

// ImageLogin is what a registry asks for. No message shows the password.
type ImageLogin struct {
	Username string `json:"username,omitempty" doc:"The name of an account of the registry."`
	Password string `json:"password,omitempty" doc:"Its password, or a token that takes the place of one."`
}

// String hides the password.
func (l *ImageLogin) String() string { return "a login" }

// GoString hides it, too.
func (l *ImageLogin) GoString() string { return l.String() }

const maxLogin = 64 << 10 // bytes: tokens are long

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
	switch a := m.Auth; {
	case a == nil:
	case a.Username == "" || a.Password == "":
		p.Add(at+".auth", "it needs username and password")
	case len(a.Username)+len(a.Password) > maxLogin:
		p.Add(at+".auth", "username and password are longer than %d bytes", maxLogin)
	}
	switch {
	case !ImageMountable(t.Driver):
		p.Add(at, "the %s driver mounts no images in its tasks", t.Driver).Advise("use driver = \"oci\", \"docker\" or \"exec\"")
	case t.Driver == "exec" && t.Config["isolation"] == "none":
		p.Add(at, "a task without isolation has no mounts of its own").Advise("leave isolation out, or use driver = \"oci\"")
	}
}
