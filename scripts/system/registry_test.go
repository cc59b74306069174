//go:build linux && system

package system

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/drivers/docker/dockertest"
)

// guarded is a registry on loopback that gives nothing to who does not say who it is: each user's password is passwordOf of it.
type guarded struct {
	*httptest.Server
	inner   http.Handler
	token   string       // empty: names and passwords are asked for with each request, as Basic; else a token is, which they are good for
	tokens  atomic.Int64 // that were given
	refused atomic.Int64
}

func passwordOf(user string) string { return "only-" + user + "-knows-this" }

func newGuarded(t *testing.T, token string) *guarded {
	g := &guarded{token: token, inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, basic := r.BasicAuth()
	basic = basic && password == passwordOf(user)
	switch {
	case r.URL.Path == "/.dockercfg": // what somebody may have for a URI of a task
		fmt.Fprintf(w, `{%q: {"auth": %q}}`, g.host(), base64.StdEncoding.EncodeToString([]byte("file:"+passwordOf("file"))))
	case r.URL.Path == "/token" && basic:
		g.tokens.Add(1)
		fmt.Fprintf(w, `{"token": %q, "access_token": %q, "expires_in": 300}`, g.token, g.token)
	case g.token == "" && basic || g.token != "" && r.Header.Get("Authorization") == "Bearer "+g.token:
		g.inner.ServeHTTP(w, r)
	default:
		g.refused.Add(1)
		challenge := `Basic realm="hub"`
		if g.token != "" {
			challenge = fmt.Sprintf(`Bearer realm="%s/token",service="hub",scope="repository:shop/web:pull"`, g.URL)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}`, http.StatusUnauthorized)
	}
}

func (g *guarded) host() string { return strings.TrimPrefix(g.URL, "http://") }

func (g *guarded) push(t *testing.T, image string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(g.host() + "/" + image)
	if err == nil {
		err = remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "us", Password: passwordOf("us")}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// login is what docker login writes for a user of g.
func (g *guarded) login(user string) []byte {
	raw, _ := json.Marshal(map[string]any{"auths": map[string]any{g.host(): map[string]string{"username": user, "password": passwordOf(user)}}}) // of texts alone
	return raw
}

// privateImages: images, and those that are mounted, come from registries that ask who wants them, for the engine and without it: for a job that names
// variables, once they are there, and for a framework that sends what it takes, or refers to it. Nobody else sees that.
func privateImages(t *testing.T, r *region, a *agent) {
	t.Helper()
	basic, bearer := newGuarded(t, ""), newGuarded(t, "this-is-a-token")
	img := dockertest.Image("/bin/busybox", "what the image has")
	for _, g := range []*guarded{basic, bearer} {
		g.push(t, "shop/web:1", img)
		g.push(t, "shop/models:7", img)
	}
	task := func(driver string, of, mounted *guarded, variable, other string) string {
		return fmt.Sprintf(`    task %q {
      driver = %[1]q

      config {
        image        = "%[2]s/shop/web:1"
        command      = "cat"
        args         = ["/models/more0"]
        network_mode = "none"

        auth {
          variable = %[4]q
        }
      }

      image_mount {
        image       = "%[3]s/shop/models:7"
        destination = "/models"

        auth {
          variable = %[5]q
        }
      }

      resources {
        cpu    = 0.1
        memory = "32MiB"
      }
    }
`, driver, of.host(), mounted.host(), variable, other)
	}
	text := "job \"private\" {\n  role = \"eng\"\n  type = \"batch\"\n\n  group \"g\" {\n" +
		task("docker", basic, bearer, "eng/basic", "eng/bearer") + task("oci", bearer, basic, "eng/bearer", "eng/basic") + "  }\n}\n"
	a.must("job", "run", "-detach", r.file("private.hcl", text))
	await(t, "what the tasks wait for", func() error {
		if out := a.must("alloc", "status", string(r.allocOf("private").ID)); strings.Count(out, "auth: it waits for variable eng/basic (there is none), variable eng/bearer (there is none)") < 2 {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
	for _, variable := range []string{"basic", "bearer"} {
		a.must("var", "put", "-secret", "eng/"+variable, "username=@"+r.file("user", "job"), "password=@"+r.file("password", passwordOf("job")))
	}
	a.must("var", "put", "-secret", "eng/login", "config=@"+r.file("login", string(bearer.login("framework"))))
	alloc := r.ended("private")
	for _, task := range []string{"docker", "oci"} {
		if o := a.proffer("alloc", "logs", string(alloc.ID), task); o.out != "what the image has" {
			t.Errorf("%s, %s; of its task %s: %s", alloc.Status, alloc.Why, task, o)
		}
	}

	s := &scheduler{t: t, r: r, at: a, encoding: wire.Protobuf, info: wire.FrameworkInfo{User: "root", Name: "private", Role: new("eng"), FailoverTimeout: new(600.0)}}
	await(t, "the scheduler is subscribed", s.alive)
	of := func(g *guarded, config *wire.Secret) *wire.ContainerInfo {
		return &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: g.host() + "/shop/web:1", Config: config}}}}
	}
	const script = `[ "$(cat /more0)" = "what the image has" ]`
	s.contained("sends", wire.TaskFinished, script, func(t *wire.TaskInfo) {
		t.Container = of(basic, &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: basic.login("framework")}})
	})
	s.contained("refers", wire.TaskFinished, script, func(t *wire.TaskInfo) {
		t.Container = of(bearer, &wire.Secret{Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: "login"}})
	})
	s.contained("engine", wire.TaskFinished, script, func(t *wire.TaskInfo) {
		t.Container = &wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: bearer.host() + "/shop/web:1"}}
		t.Command.URIs = []wire.URI{{Value: bearer.URL + "/.dockercfg"}}
	})
	s.call(&wire.Call{Type: new(wire.CallTeardown)})
	if basic.refused.Load() == 0 || bearer.refused.Load() == 0 || bearer.tokens.Load() == 0 {
		t.Errorf("the registries refused %d and %d requests, and gave %d tokens", basic.refused.Load(), bearer.refused.Load(), bearer.tokens.Load())
	}

	shown := a.must("job", "inspect", "private") + a.must("alloc", "status", "-json", string(alloc.ID))
	logged, err := os.ReadFile(a.log)
	if err != nil {
		t.Error(err)
	}
	for _, user := range []string{"job", "framework"} {
		if strings.Contains(shown, passwordOf(user)) {
			t.Errorf("a password is shown: %s", shown)
		}
		if strings.Contains(string(logged), passwordOf(user)) {
			t.Error("a password is in the log of the agent")
		}
		if found := holding(t, a.dir, passwordOf(user)); len(found) > 0 {
			t.Errorf("a password is on the disk: %v", found)
		}
	}
}
