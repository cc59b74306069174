package structs

import (
	"strings"
	"testing"
)

// What a registry has is named by its address alone.
func TestArtifactOfARegistry(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for source, good := range map[string]bool{
		"oci://registry.example.com/app":                         true,
		"oci://registry.example.com:5000/team/app_x/y-z.a:V1.2_": true,
		"oci://localhost/app" + digest:                           true,
		"oci://docker.io/library/app:1" + digest:                 true,
		"oci://user:pass@registry.example.com/app":               true,
		"oci://registry.example.com/App":                         false,
		"oci://registry.example.com/app:":                        false,
		"oci://registry.example.com/app@sha256:12":               false,
		"oci://registry.example.com/app" + digest + digest:       false,
		"oci://registry.example.com//app":                        false,
		"oci://registry.example.com/../app":                      false,
		"oci://registry.example.com/a%2fb":                       false,
		"oci://registry.example.com/":                            false,
		"oci://registry/app":                                     false, // it would be taken for docker.io/registry/app
	} {
		if _, err := ParseSource(source); (err == nil) != good {
			t.Errorf("%s: %v", source, err)
		}
	}
	for what, a := range map[string]Artifact{
		"ref":      {Source: "oci://registry.example.com/app", Ref: "v1"},
		"checksum": {Source: "oci://registry.example.com/app", Checksum: "sha256:" + strings.Repeat("0a", 32)},
		"headers":  {Source: "oci://registry.example.com/app", Headers: map[string]string{"X": "y"}},
	} {
		a.Destination, a.Mode = "local", "0644"
		var p Problems
		a.Problems(&p, "artifact")
		if len(p) != 1 || !strings.Contains(p.Err().Error(), what) {
			t.Errorf("%s: %v", what, p.Err())
		}
	}
}
