package runner

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/distribution/reference"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// asksForImage reports whether a task brings what images of it are asked for with. Its other texts are secrets as well, which need no
// fetched files, so that they can be made before the images are there.
func asksForImage(t *structs.Task) bool {
	return slices.ContainsFunc(t.Templates, func(x *structs.Template) bool { return x.Secret != nil && x.Secret.Image })
}

// login has the images of a start asked for with what the task brought for them; configs is of taskdir.ImageConfigs. Where one has nothing for
// the registry, the node's own counts.
func login(spec *drivers.Spec, configs map[string][]byte) (err error) {
	logins := map[string]*structs.ImageLogin{}
	if config, brought := configs[""]; brought {
		image, _ := spec.Task.Config[structs.ImageKey].(string)
		if logins[""], err = loginFor("task "+spec.ID+".config."+structs.ImageKey, image, config); err != nil {
			return err
		}
	}
	for i, m := range spec.Task.ImageMounts {
		config, brought := configs[m.Destination]
		if !brought {
			continue
		}
		if logins[m.Destination], err = loginFor(fmt.Sprintf("task %s.image_mount[%d]", spec.ID, i), m.Image, config); err != nil {
			return err
		}
	}
	useLogins(spec, logins)
	return nil
}

// useLogins has the images of a start asked for with logins, by where they are mounted; nil is the node's own. What the task is defined by stays
// as it is: nothing but the start knows them.
func useLogins(spec *drivers.Spec, logins map[string]*structs.ImageLogin) {
	if len(logins) == 0 {
		return
	}
	with := *spec.Task
	if l := logins[""]; l != nil {
		with.Config = maps.Clone(with.Config)
		with.Config[structs.LoginKey] = map[string]any{structs.LoginUsername: l.Username, structs.LoginPassword: l.Password}
	}
	with.ImageMounts = slices.Clone(with.ImageMounts)
	for i, m := range with.ImageMounts {
		if l, is := logins[m.Destination]; is {
			own := *m
			own.Auth, with.ImageMounts[i] = l, &own
		}
	}
	spec.Task = &with
}

// logins are what the variables hold that the logins of the task name. They are waited for as what templates ask for is.
func (t *task) logins(ctx context.Context, scope *taskdir.Scope, def *structs.Task) (map[string]*structs.ImageLogin, error) {
	if !namesLogin(def) {
		return nil, nil
	}
	return asked(ctx, t, scope, scope.Logins, true)
}

// namesLogin reports whether a task has a variable that says what an image of it is asked for with.
func namesLogin(t *structs.Task) bool {
	for _, l := range t.Logins() {
		if l.Variable != "" {
			return true
		}
	}
	return false
}

// loginFor finds what the registry of an image asks for in what docker login writes; nil: it has nothing for that.
func loginFor(object, image string, config []byte) (*structs.ImageLogin, error) {
	name, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%q is not the name of an image: %w", image, err)
	}
	l, err := drivers.LoginFor(config, name)
	switch {
	case err != nil:
		return nil, structs.Errorf(structs.Invalid, object, "what came with the task to ask for %s: %w", image, err)
	case l == nil:
		return nil, nil
	case l.Username == "" || l.Password == "":
		return nil, structs.Errorf(structs.Invalid, object, "what came with the task for %s has no user name and password", reference.Domain(name)).
			Advise("identity tokens and credential helpers are not served: send both")
	}
	return &structs.ImageLogin{Username: l.Username, Password: l.Password}, nil
}

// fetchesLogin reports whether a start has files that may say what the image is asked for with. Mesos has the engine look for them in the sandbox of
// a task, where its URIs brought them, so they are fetched before the image.
func (t *task) fetchesLogin(spec *drivers.Spec) bool {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	return t.alloc.alloc.External != nil && driverOf(spec.Task) == "docker" && len(spec.Task.Artifacts) > 0
}

const maxLoginFile = 1 << 20 // bytes

// fetchedLogin is login for what such files are: those of docker login, in the folder that it knows or of its older name. Without one, and where it
// has nothing for the registry, the node's own counts.
func fetchedLogin(spec *drivers.Spec) error {
	root, err := os.OpenRoot(filepath.Join(spec.TaskDir, "local"))
	if err != nil {
		return drivers.DiskError("task "+spec.ID, err)
	}
	defer root.Close()
	for _, name := range []string{".docker/config.json", ".dockercfg"} {
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a former start of the task may have put a pipe there
		if err != nil {
			continue // it is not there, or no file of the folder
		}
		var config []byte
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() {
			config, err = io.ReadAll(io.LimitReader(f, maxLoginFile+1))
		}
		f.Close()
		switch {
		case err != nil:
			return structs.Errorf(structs.Invalid, "task "+spec.ID, "%s, which its files brought: %w", name, err)
		case len(config) > maxLoginFile:
			return structs.Errorf(structs.Invalid, "task "+spec.ID, "%s, which its files brought, is larger than %s", name, structs.Bytes(maxLoginFile).Human())
		}
		return login(spec, map[string][]byte{"": config})
	}
	return nil
}
