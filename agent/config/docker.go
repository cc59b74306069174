package config

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// Docker configures the docker driver.
type Docker struct {
	Endpoint      string            `json:"endpoint,omitempty" doc:"The engine: unix:///PATH or tcp://HOST:PORT. Default unix:///var/run/docker.sock."`
	CAFile        string            `json:"ca_file,omitempty" doc:"With tcp and TLS: certificate of who signed the engine's."`
	CertFile      string            `json:"cert_file,omitempty" doc:"This node's certificate for the engine."`
	KeyFile       string            `json:"key_file,omitempty" doc:"The key of it."`
	Privileged    bool              `json:"privileged,omitempty" doc:"Tasks may ask for everything that the engine can do: privileged containers, namespaces of the host, any device and option. It makes them root on the node."`
	Volumes       bool              `json:"volumes,omitempty" doc:"Tasks may use named volumes of the engine."`
	VolumeDrivers []string          `json:"volume_drivers,omitempty" doc:"Volume drivers (plugins) of the engine whose volumes tasks may use, and have made with options. With local among them, tasks may give options to the engine's own, which can mount any folder of the node."`
	HostPaths     []string          `json:"host_paths,omitempty" doc:"Files and folders of the node that tasks may mount, with what is below them."`
	Devices       []string          `json:"devices,omitempty" doc:"Devices that tasks may use: paths below /dev, with what is below them."`
	Capabilities  []string          `json:"capabilities,omitempty" doc:"Capabilities that tasks may add beyond those that containers have; all: every one."`
	Runtimes      []string          `json:"runtimes,omitempty" doc:"Runtimes of the engine that tasks may choose."`
	LogDrivers    []string          `json:"log_drivers,omitempty" doc:"Log drivers of the engine that tasks may choose. What they send goes out from the engine, with its rights."`
	CallTimeout   structs.Duration  `json:"call_timeout,omitempty" doc:"How long the engine may take to answer. Default 30s."`
	PullStall     structs.Duration  `json:"pull_stall,omitempty" doc:"A pull without progress for this long has failed. Default 2m."`
	AuthFile      string            `json:"auth_file,omitempty" doc:"File with credentials for registries as docker login writes it; read again for each pull."`
	Registries    []*Registry       `json:"registry,omitempty" hcl:"block" doc:"Credentials for a registry."`
	ImageAge      *structs.Duration `json:"image_age,omitempty" doc:"Images that the node pulled and did not use for this long are removed; 0s: never. Default 168h."`
	ImageDiskUse  *int              `json:"image_disk_use,omitempty" doc:"Percent of the engine's disk in use above which they go earlier, the one longest unused first; 0: never. Default 85."`
}

// Registry has credentials.
type Registry struct {
	Name         string `json:"name" hcl:"label" doc:"Host of the registry as images name it, with its port; docker.io for images that name none."`
	Username     string `json:"username,omitempty" doc:"The user."`
	Password     Secret `json:"password,omitempty" doc:"The password."`
	PasswordFile string `json:"password_file,omitempty" doc:"File that holds it; not with password."`
	Token        Secret `json:"token,omitempty" doc:"An identity token, instead of user and password."`
}

func (d *Docker) defaults() {
	setDefault(&d.Endpoint, "unix:///var/run/docker.sock")
	setDefault(&d.CallTimeout, structs.Duration(30*time.Second))
	setDefault(&d.PullStall, structs.Duration(2*time.Minute))
	setPointer(&d.ImageAge, structs.Duration(7*24*time.Hour))
	setPointer(&d.ImageDiskUse, 85)
}

// secrets reads password files.
func (d *Docker) secrets(p *structs.Problems) {
	for _, r := range d.Registries {
		passwordOf(p, "client.docker.registry."+r.Name, r.PasswordFile, &r.Password)
	}
}

// passwordOf reads the password that a file holds, when there is one.
func passwordOf(p *structs.Problems, at, file string, password *Secret) {
	secretOf(p, at, "password", file, password)
}

// secretOf reads a secret from the file that the setting name_file names.
func secretOf(p *structs.Problems, at, name, file string, password *Secret) {
	if file == "" {
		return
	}
	at += "." + name + "_file"
	if *password != "" {
		p.Add(at, "%s is set too", name).Advise("use one of them")
		return
	}
	src, err := read(file, 64<<10)
	if err != nil {
		p.Add(at, "%s %s", file, structs.AsError(err).Why)
		return
	}
	*password = Secret(strings.TrimRight(string(src), "\r\n"))
}

// registryName reports a name of a registry that cannot be, or that has another block.
func registryName(p *structs.Problems, at, name string, seen map[string]bool) {
	switch {
	case !validHost(name):
		p.Add(at, "%q is not a host or host:port", name).Advise("write it as images do, such as registry.example.com:5000, without https://")
	case seen[name]:
		p.Add(at, "the registry has two blocks")
	}
	seen[name] = true
}

func (d *Docker) validate(p *structs.Problems) {
	const at = "client.docker."
	scheme, rest, ok := strings.Cut(d.Endpoint, "://")
	switch {
	case !ok || rest == "" || scheme != "unix" && scheme != "tcp":
		p.Add(at+"endpoint", "%q is neither unix:///PATH nor tcp://HOST:PORT", d.Endpoint)
	case scheme == "unix" && !filepath.IsAbs(rest):
		p.Add(at+"endpoint", "%q has no absolute path", d.Endpoint).Advise("write three slashes: unix:///var/run/docker.sock")
	case scheme == "tcp" && !validHost(rest):
		p.Add(at+"endpoint", "%q is not a host:port", rest)
	}
	if (d.CertFile == "") != (d.KeyFile == "") {
		p.Add(at+"cert_file", "a certificate needs its key, and a key its certificate")
	}
	if scheme == "unix" && d.CAFile+d.CertFile != "" {
		p.Add(at+"ca_file", "TLS is for tcp endpoints")
	}
	for _, x := range []struct {
		name  string
		paths []string
		below string
	}{{"host_paths", d.HostPaths, "/"}, {"devices", d.Devices, "/dev/"}} {
		for i, path := range x.paths {
			if !filepath.IsAbs(path) || filepath.Clean(path) != path || !strings.HasPrefix(path+"/", x.below) {
				p.Add(at+x.name+"["+strconv.Itoa(i)+"]", "%q is not a clean path below %s", path, x.below)
			}
		}
	}
	duration(p, at+"call_timeout", d.CallTimeout, time.Second, 10*time.Minute)
	duration(p, at+"pull_stall", d.PullStall, time.Second, 24*time.Hour)
	duration(p, at+"image_age", *d.ImageAge, 0, 10*365*24*time.Hour)
	number(p, at+"image_disk_use", *d.ImageDiskUse, 0, 100)
	seen := map[string]bool{}
	for _, r := range d.Registries {
		name := at + "registry." + r.Name
		registryName(p, name, r.Name, seen)
		switch {
		case r.Token == "" && (r.Username == "" || r.Password == ""):
			p.Add(name, "it has neither username and password nor a token")
		case r.Token != "" && r.Username+string(r.Password) != "":
			p.Add(name, "token is instead of username and password")
		}
	}
}
