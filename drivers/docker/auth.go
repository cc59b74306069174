package docker

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"

	"github.com/proffer/proffer/structs"
)

// hub is what Docker Hub is called by its images, and hubKey what docker login calls it.
const (
	hub    = "docker.io"
	hubKey = "https://index.docker.io/v1/"
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
	var file struct {
		Auths map[string]registry.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return "", structs.Errorf(structs.Unavailable, object, "%s: %w", o.AuthFile, err)
	}
	keys := []string{domain, "https://" + domain, "https://" + domain + "/v1/", "https://" + domain + "/v2/"}
	if domain == hub {
		keys = append(keys, hubKey, "index.docker.io")
	}
	for _, key := range keys {
		a, ok := file.Auths[key]
		if !ok {
			continue
		}
		if a.Auth != "" {
			both, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(string(both), ":")
			if err != nil || !ok {
				return "", structs.Errorf(structs.Unavailable, object, "%s: what it has for %s is not base64 of user:password", o.AuthFile, key)
			}
			a.Username, a.Password, a.Auth = user, strings.TrimRight(password, "\x00"), ""
		}
		a.ServerAddress = domain
		return header(a)
	}
	return "", nil
}

func header(a registry.AuthConfig) (string, error) {
	raw, err := json.Marshal(a)
	return base64.URLEncoding.EncodeToString(raw), err
}
