package taskdir

import (
	"fmt"
	"maps"

	"github.com/proffer/proffer/structs"
)

// ExpandArtifact returns an artifact with its references replaced; a is not changed.
func (sc *Scope) ExpandArtifact(a *structs.Artifact) (*structs.Artifact, error) {
	out := *a
	out.Headers = maps.Clone(a.Headers)
	for name, field := range map[string]*string{"source": &out.Source, "destination": &out.Destination, "name": &out.Name, "checksum": &out.Checksum, "ref": &out.Ref} {
		value, err := sc.Expand(*field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*field = value
	}
	for name, value := range out.Headers {
		value, err := sc.Expand(value)
		if err != nil {
			return nil, fmt.Errorf("headers.%s: %w", name, err)
		}
		out.Headers[name] = value
	}
	return &out, nil
}
