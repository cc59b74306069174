package runner

import (
	"fmt"
	"maps"
	"slices"

	"github.com/distribution/reference"

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
func login(spec *drivers.Spec, configs map[string][]byte) error {
	with := *spec.Task
	if config, brought := configs[""]; brought {
		image, _ := with.Config[structs.ImageKey].(string)
		l, err := loginFor("task "+spec.ID+".config."+structs.ImageKey, image, config)
		if err != nil {
			return err
		}
		if l != nil {
			with.Config = maps.Clone(with.Config)
			with.Config["auth"] = map[string]any{"username": l.Username, "password": l.Password}
		}
	}
	with.ImageMounts = slices.Clone(with.ImageMounts)
	for i, m := range with.ImageMounts {
		config, brought := configs[m.Destination]
		if !brought {
			continue
		}
		own := *m
		var err error
		if own.Auth, err = loginFor(fmt.Sprintf("task %s.image_mount[%d]", spec.ID, i), m.Image, config); err != nil {
			return err
		}
		with.ImageMounts[i] = &own
	}
	spec.Task = &with
	return nil
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
