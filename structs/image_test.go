package structs

import (
	"fmt"
	"testing"
)

func TestImageName(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx":                                "docker.io/library/nginx:latest",
		"nginx:1.27":                           "docker.io/library/nginx:1.27",
		"docker.io/nginx":                      "docker.io/library/nginx:latest",
		"index.docker.io/library/nginx:1":      "docker.io/library/nginx:1",
		"acme/web":                             "docker.io/acme/web:latest",
		"acme/web/api:2":                       "docker.io/acme/web/api:2",
		"ghcr.io/acme/web:v1":                  "ghcr.io/acme/web:v1",
		"localhost/web":                        "localhost/web:latest",
		"registry:5000/web":                    "registry:5000/web:latest",
		"registry:5000/web:1":                  "registry:5000/web:1",
		"nginx@sha256:ab":                      "docker.io/library/nginx@sha256:ab",
		"nginx:1.27@sha256:ab":                 "docker.io/library/nginx@sha256:ab",
		"registry:5000/a/b@sha256:ab":          "registry:5000/a/b@sha256:ab",
		"/srv/images/web.tar":                  "/srv/images/web.tar",
		"./web":                                "./web",
		"https://images.example.org/web.tar":   "https://images.example.org/web.tar",
		"docker.io/library/nginx@sha256:ab":    "docker.io/library/nginx@sha256:ab",
		"docker.io/library/nginx:1.27-alpine3": "docker.io/library/nginx:1.27-alpine3",
		"":                                     "",
	} {
		if got := ImageName(ref); got != want {
			t.Errorf("%q is %q, not %q", ref, got, want)
		}
		if got := ImageName(want); got != want {
			t.Errorf("the full name %q is %q", want, got)
		}
	}
}

func TestTaskImage(t *testing.T) {
	for _, c := range []struct {
		config any
		want   string
	}{{"nginx", "docker.io/library/nginx:latest"}, {"", ""}, {3, ""}, {nil, ""}, {"web:${meta.version}", ""}} {
		task := &Task{Config: map[string]any{"image": c.config}}
		if got := task.Image(); got != c.want {
			t.Errorf("%v: %q, not %q", c.config, got, c.want)
		}
	}
	if got := (&Task{}).Image(); got != "" {
		t.Errorf("no config: %q", got)
	}
}

// The largest are kept, and of equal ones always the same.
func TestBoundImages(t *testing.T) {
	found := map[string]Bytes{"huge": 1 << 40, "web:1": -5, "docker.io/library/web:1": 7, string(make([]byte, MaxImageName)): 9}
	got := BoundImages(found)
	if len(got) != 2 || got["docker.io/library/huge:latest"] != 1<<40 || got["docker.io/library/web:1"] != 7 {
		t.Errorf("%v", got)
	}
	for i := range 2 * MaxImages {
		found[fmt.Sprintf("small:%03d", i)] = 5
	}
	got = BoundImages(found)
	if len(got) != MaxImages {
		t.Fatalf("%d images", len(got))
	}
	for i := range 2 * MaxImages {
		if _, kept := got[fmt.Sprintf("docker.io/library/small:%03d", i)]; kept != (i < MaxImages-2) {
			t.Errorf("small:%03d is kept: %v", i, kept)
		}
	}
	if got["docker.io/library/web:1"] != 7 || len(found) != 2*MaxImages+4 {
		t.Errorf("%v of %d", got, len(found))
	}
	if BoundImages(nil) != nil {
		t.Error("none is not nil")
	}
}
