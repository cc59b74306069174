package drivers

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// Login is what a registry asks for.
type Login struct {
	Username, Password string
	Token              string // instead of them: an identity token
}

// Docker Hub as its images call it, and as docker login does.
const (
	hub    = "docker.io"
	hubKey = "https://index.docker.io/v1/"
)

// LoginFor looks for the registry of an image in what docker login writes: its config.json, or the older .dockercfg. nil: there is nothing for
// it. Errors say nothing of what was read.
func LoginFor(config []byte, image reference.Named) (*Login, error) {
	type entry struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Auth     string `json:"auth"`
		Token    string `json:"identitytoken"`
	}
	var file struct {
		Auths map[string]entry `json:"auths"`
	}
	if json.Unmarshal(config, &file) != nil || file.Auths == nil {
		if json.Unmarshal(config, &file.Auths) != nil {
			return nil, errors.New("it is not JSON as docker login writes it")
		}
	}
	domain := reference.Domain(image)
	keys := []string{domain, "https://" + domain, "https://" + domain + "/v1/", "https://" + domain + "/v2/"}
	if domain == hub {
		keys = append(keys, hubKey, "index.docker.io")
	}
	for _, key := range keys {
		e, ok := file.Auths[key]
		if !ok {
			continue
		}
		if e.Auth != "" {
			both, err := base64.StdEncoding.DecodeString(e.Auth)
			user, password, ok := strings.Cut(string(both), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("what it has for %s is not base64 of user:password", key)
			}
			e.Username, e.Password = user, strings.TrimRight(password, "\x00")
		}
		return &Login{e.Username, e.Password, e.Token}, nil
	}
	return nil, nil
}
