package docker

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// storage is an engine that has one image and makes containers, whose storage bounds their roots or refuses that.
type storage struct {
	backing string
	quota   bool
	sizes   []string // that were asked for, of each container in turn
}

func (s *storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.44")
	w.Header().Set("Ostype", "linux")
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	switch {
	case path == "/_ping":
	case path == "/info":
		json.NewEncoder(w).Encode(map[string]any{"OSType": "linux", "Driver": "overlay2", "DockerRootDir": "/no/such/folder",
			"DriverStatus": [][2]string{{"Backing Filesystem", s.backing}, {"Supports d_type", "true"}}})
	case path == "/containers/create":
		var asked struct {
			HostConfig struct{ StorageOpt map[string]string }
		}
		json.NewDecoder(r.Body).Decode(&asked)
		size := asked.HostConfig.StorageOpt["size"]
		s.sizes = append(s.sizes, size)
		w.Header().Set("Content-Type", "application/json")
		if size != "" && !s.quota {
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte(`{"message":"--storage-opt is supported only for overlay over xfs with 'pquota' mount option"}`))
			return
		}
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"Id":"c1","Warnings":[]}`))
	default:
		http.NotFound(w, r)
	}
}

// The roots of containers are bounded by what their allocation asked for, where the engine's storage can; where it cannot, the engine is
// asked once, and not for the next containers. What a task says for itself is left as it is.
func TestRootsAreBounded(t *testing.T) {
	own := map[string]any{"StorageOpt": map[string]any{"size": "5"}}
	for name, x := range map[string]struct {
		fake storage
		want []string
	}{
		"xfs with pquota": {storage{backing: "xfs", quota: true}, []string{"1048576", "1048576", "5", ""}},
		"xfs without it":  {storage{backing: "xfs"}, []string{"1048576", "", "", "5", ""}},
		"another":         {storage{backing: "extfs"}, []string{"", "", "5", ""}},
	} {
		listens := httptest.NewServer(&x.fake)
		d := New(Options{Endpoint: "tcp://" + strings.TrimPrefix(listens.URL, "http://")})
		if f := d.Fingerprint(t.Context()); !f.Healthy {
			t.Fatalf("%s: %+v", name, f)
		}
		create := func(disk structs.Bytes, options map[string]any) error {
			config := map[string]any{"image": "x", "network_mode": "none"}
			if options != nil {
				config["options"] = options
			}
			dir := t.TempDir()
			s := &drivers.Spec{ID: "a/t/1", Alloc: "a", Task: &structs.Task{Name: "t", User: "0", Config: config}, AllocDir: dir + "/alloc", TaskDir: dir + "/t", Disk: disk}
			c, err := d.config(s)
			if err == nil {
				_, err = d.create(t.Context(), s, c, &image{id: "sha256:1"})
			}
			return err
		}
		for range 2 {
			if err := create(1<<20, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			d.Fingerprint(t.Context()) // which does not make it ask again
		}
		if err := create(1<<20, own); (err == nil) != x.fake.quota {
			t.Errorf("%s: a size that the task asks for itself: %v", name, err)
		}
		if err := create(0, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(x.fake.sizes, x.want) {
			t.Errorf("%s: the engine was asked for %q, not %q", name, x.fake.sizes, x.want)
		}
		d.Close()
		listens.Close()
	}
}
