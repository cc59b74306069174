package config

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/structs"
)

// OCI configures the oci driver.
type OCI struct {
	Runtime   string           `json:"runtime,omitempty" doc:"Path or name of an OCI runtime with the commands of runc. Default: runc or crun, whichever is there and can."`
	HostPaths []string         `json:"host_paths,omitempty" doc:"Folders of the node that tasks may mount, with all below them. Whoever may submit jobs may read and write them. Default: none."`
	ImageAge  structs.Duration `json:"image_age,omitempty" doc:"An image that no task used for so long is removed. Default 168h."`
	ImageSize structs.Bytes    `json:"image_size,omitempty" doc:"What images that no task uses may take together; the least recently used go first. Default 50GiB."`
	MaxLayer  structs.Bytes    `json:"max_layer,omitempty" doc:"A layer that is larger, unpacked, is refused. Default 20GiB."`
	Stall     structs.Duration `json:"stall,omitempty" doc:"A transfer of an image that brings nothing for so long is cut and resumed. Default 30s."`
	Registry  []*OCIRegistry   `json:"registry,omitempty" hcl:"block" doc:"How to reach a registry."`
}

// OCIRegistry is how to reach a registry.
type OCIRegistry struct {
	Host         string   `json:"host" hcl:"label" doc:"Its name as references have it, such as docker.io or registry.example.com:5000; or that of a mirror."`
	Mirrors      []string `json:"mirrors,omitempty" doc:"HOST[:PORT][/PREFIX] of registries that are asked before it, in that order."`
	Username     string   `json:"username,omitempty" doc:"Whom to log in as. Default: nobody."`
	Password     Secret   `json:"password,omitempty" doc:"The password or token; give it by password_file rather than here."`
	PasswordFile string   `json:"password_file,omitempty" doc:"A file that holds the password."`
	Insecure     bool     `json:"insecure,omitempty" doc:"It speaks HTTP, or has a certificate that nobody vouches for."`
}

func (o *OCI) defaults() {
	setDefault(&o.ImageAge, structs.Duration(7*24*time.Hour))
	setDefault(&o.ImageSize, 50<<30)
	setDefault(&o.MaxLayer, 20<<30)
	setDefault(&o.Stall, structs.Duration(30*time.Second))
}

// secrets reads password files.
func (o *OCI) secrets(p *structs.Problems) {
	for _, r := range o.Registry {
		passwordOf(p, "client.oci.registry."+r.Host, r.PasswordFile, &r.Password)
	}
}

func (o *OCI) validate(p *structs.Problems) {
	if o == nil {
		return
	}
	for i, dir := range o.HostPaths {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			p.Add(fmt.Sprintf("client.oci.host_paths[%d]", i), "%q is not an absolute path", dir)
		}
	}
	duration(p, "client.oci.image_age", o.ImageAge, time.Minute, 10*365*24*time.Hour)
	duration(p, "client.oci.stall", o.Stall, time.Second, time.Hour)
	seen := map[string]bool{}
	for _, r := range o.Registry {
		registryName(p, "client.oci.registry."+r.Host, r.Host, seen)
		if (r.Username == "") != (r.Password == "") {
			p.Add("client.oci.registry."+r.Host, "username and password belong together")
		}
	}
}
