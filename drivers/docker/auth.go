package docker

import (
	"encoding/base64"
	"encoding/json"
	"os"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// login returns the header with which an image's registry is asked; empty where the node has no credentials for it. The file is
// read each time: whoever renews tokens in it needs no restart of the agent.
func (o *Options) login(image reference.Named) (string, error) {
	domain := reference.Domain(image)
	if c := o.Registries[domain]; c != nil {
		return header(registry.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.Token, ServerAddress: domain})
	}
	if o.AuthFile == "" {
		return "", nil
	}
	object := "client.docker.auth_file"
	raw, err := os.ReadFile(o.AuthFile)
	if err != nil {
		return "", structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	l, err := drivers.LoginFor(raw, image)
	if err != nil {
		return "", structs.Errorf(structs.Unavailable, object, "%s: %w", o.AuthFile, err)
	}
	if l == nil {
		return "", nil
	}
	return header(registry.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.Token, ServerAddress: domain})
}

func header(a registry.AuthConfig) (string, error) {
	raw, err := json.Marshal(a)
	return base64.URLEncoding.EncodeToString(raw), err
}
