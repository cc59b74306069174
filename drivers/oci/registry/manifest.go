package registry

import (
	"encoding/json"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/proffer/proffer/structs"
)

// Resolve follows indexes to the manifest of this machine's platform. raw is what that one is. object names what it is of in messages.
func Resolve(object string, body []byte, get func(digest string) ([]byte, error)) (m *v1.Manifest, raw []byte, err error) {
	for range 3 { // an index in an index is seen; more is somebody's joke
		var kind struct {
			MediaType types.MediaType   `json:"mediaType"`
			Manifests []v1.Descriptor   `json:"manifests"`
			Layers    []json.RawMessage `json:"layers"`
		}
		if err := json.Unmarshal(body, &kind); err != nil {
			return nil, nil, structs.Errorf(structs.Invalid, object, "its manifest cannot be read: %w", err)
		}
		if kind.Manifests == nil {
			m := new(v1.Manifest)
			if err := json.Unmarshal(body, m); err != nil || m.SchemaVersion != 2 {
				return nil, nil, structs.Errorf(structs.Invalid, object, "its manifest is of no known kind (schema %d, %s)", m.SchemaVersion, m.MediaType)
			}
			return m, body, nil
		}
		d, err := Choose(object, kind.Manifests)
		if err != nil {
			return nil, nil, err
		}
		if body, err = get(d.Digest.String()); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, structs.Errorf(structs.Invalid, object, "its indexes refer to one another")
}

// Choose picks this machine's platform from an index.
func Choose(object string, list []v1.Descriptor) (*v1.Descriptor, error) {
	var have []string
	var fallback *v1.Descriptor
	for i := range list {
		p := list[i].Platform
		if p == nil {
			fallback = &list[i]
			continue
		}
		if p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return &list[i], nil // variants of an architecture come with the most common one first
		}
		have = append(have, p.String())
	}
	if fallback != nil && len(list) == 1 {
		return fallback, nil
	}
	return nil, structs.Errorf(structs.Invalid, object, "it has no variant for linux/%s, only for %s", runtime.GOARCH, strings.Join(have, ", "))
}
