//go:build linux && system

package system

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// TestImagesBeforeAStop: a job that changes its image goes on with the old one until its node has the new one.
func TestImagesBeforeAStop(t *testing.T) {
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	asked, open := make(chan struct{}, 100), make(chan struct{})
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/2") {
			asked <- struct{}{}
			<-open
		}
		reg.ServeHTTP(w, r)
	}))
	t.Cleanup(hub.Close)
	image := strings.TrimPrefix(hub.URL, "http://") + "/web:"
	for i, im := range []string{"1", "2"} {
		ref, err := name.ParseReference(image + im)
		if err == nil {
			err = remote.Write(ref, dockertest.Image("/bin/busybox", fmt.Sprint(i)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	r.startAll()
	job := func(version string) string {
		return r.file("web.hcl", fmt.Sprintf(`job "web" {
  group "g" {
    task "main" {
      driver = "oci"
      user   = "0"
      config {
        image   = %q
        command = "/bin/sh"
        args    = ["-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
      }
      resources {
        cpu    = 0.1
        memory = "64MiB"
      }
    }
  }
}
`, image+version))
	}
	a.must("job", "run", "-detach", job("1"))
	old := r.allocs("web", 1)[0]
	a.must("job", "run", "-detach", job("2"))
	select {
	case <-asked:
	case <-t.Context().Done():
		t.Fatal("the new image is not asked for")
	}
	s, _, err := r.api().JobStatus(t.Context(), "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Allocations) != 1 || s.Allocations[0].ID != old.ID || s.Allocations[0].Status != structs.AllocRunning || s.Allocations[0].ReplacedBy != 2 {
		t.Errorf("before its image is there: %d allocations, of %+v", len(s.Allocations), old)
	}
	if out := a.must("alloc", "status", string(old.ID)); !strings.Contains(out, "replaced by version 2") {
		t.Errorf("%s", out)
	}
	close(open)
	await(t, "the new version", func() error {
		if now := r.allocs("web", 1)[0]; now.Version != 2 {
			return fmt.Errorf("version %d runs", now.Version)
		}
		return nil
	})
	a.must("job", "stop", "web")
}
