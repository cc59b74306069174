package placement

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

func imaged(t *testing.T, tasks ...*structs.Task) *Ask {
	t.Helper()
	ask, err := Compile(&structs.Job{Name: "j"}, &structs.Group{Name: "g", Tasks: tasks})
	if err != nil {
		t.Fatal(err)
	}
	return ask
}

func task(driver, image string) *structs.Task {
	return &structs.Task{Name: driver + image, Driver: driver, Config: map[string]any{"image": image}}
}

// What an image is worth goes by what all images take together, within bounds.
func TestImagesByBytes(t *testing.T) {
	const mib = structs.Bytes(1 << 20)
	for _, c := range []struct {
		sizes  []structs.Bytes
		points int64
	}{{nil, 0}, {[]structs.Bytes{1}, 1}, {[]structs.Bytes{64 * mib}, 1}, {[]structs.Bytes{64*mib + 1}, 2}, {[]structs.Bytes{0}, 2},
		{[]structs.Bytes{200 * mib}, 2}, {[]structs.Bytes{200 * mib, 0}, 3}, {[]structs.Bytes{1024 * mib}, 3}, {[]structs.Bytes{4096 * mib}, 4},
		{[]structs.Bytes{4096*mib + 1}, 5}, {[]structs.Bytes{1 << 62, 1 << 62}, 5}, {[]structs.Bytes{-5}, 1}} {
		d := &structs.Driver{Healthy: true, Images: map[string]structs.Bytes{}}
		for i, size := range c.sizes {
			d.Images[structs.ImageName(string(rune('a'+i)))] = size
		}
		n := NewNode("n", &structs.Node{ID: "n", Status: structs.NodeReady, Eligible: true, Drivers: map[string]*structs.Driver{"docker": d}})
		ask := imaged(t, task("docker", "a"), task("docker", "docker.io/library/b:latest"), task("docker", "a:latest"))
		parts := PartsOf(n, nil, ask)
		if parts.Images != c.points*fullPack/10 || parts.Score()-parts.Packing != parts.Images {
			t.Errorf("%v: %+v, not %d points", c.sizes, parts, c.points)
		}
		if named := parts.Named()["images"]; named != float64(c.points)/10 {
			t.Errorf("%v: images=%v", c.sizes, named)
		}
	}
}

// An image is of a driver: another one cannot use it. Asks for other images are other shapes.
func TestImagesAreOfDrivers(t *testing.T) {
	have := map[string]structs.Bytes{structs.ImageName("web:1"): 1 << 30}
	n := NewNode("n", &structs.Node{ID: "n", Status: structs.NodeReady, Eligible: true, Drivers: map[string]*structs.Driver{
		"docker": {Healthy: true, Images: have}, "oci": {Healthy: true}}})
	docker, oci, other := imaged(t, task("docker", "web:1")), imaged(t, task("oci", "web:1")), imaged(t, task("docker", "web:2"))
	if PartsOf(n, nil, docker).Images == 0 || PartsOf(n, nil, oci).Images != 0 || PartsOf(n, nil, other).Images != 0 {
		t.Errorf("docker %+v, oci %+v, another %+v", PartsOf(n, nil, docker), PartsOf(n, nil, oci), PartsOf(n, nil, other))
	}
	if docker.Key() == other.Key() || docker.Key() != imaged(t, task("docker", "docker.io/web:1")).Key() {
		t.Errorf("keys: %s, %s", docker.Key(), other.Key())
	}
}

// Who mounts images needs the driver that keeps them, and goes where they are.
func TestMountedImages(t *testing.T) {
	have := map[string]structs.Bytes{structs.ImageName("models:7"): 1 << 30}
	x := task("exec", "")
	x.ImageMounts = []*structs.ImageMount{{Image: "models:7", Destination: "/models"}}
	ask := imaged(t, x)
	for name, c := range map[string]struct {
		oci  *structs.Driver
		fits bool
	}{"without the driver": {nil, false}, "with it": {&structs.Driver{Healthy: true, Images: have}, true}, "not well": {&structs.Driver{Why: "no runtime"}, false}} {
		n := &structs.Node{ID: "n", Status: structs.NodeReady, Eligible: true, Resources: structs.Resources{CPU: 8000, Memory: 8 << 30, Disk: 8 << 30},
			Drivers: map[string]*structs.Driver{"exec": {Healthy: true, Attributes: map[string]string{"isolation.full": "true"}}}}
		if c.oci != nil {
			n.Drivers["oci"] = c.oci
		}
		node := NewNode("n", n)
		if v := Fits(node, nil, ask, All); v.OK != c.fits {
			t.Errorf("%s: %+v", name, v)
		}
		if c.fits && PartsOf(node, nil, ask).Images == 0 {
			t.Errorf("%s: its image is worth nothing", name)
		}
	}
}
