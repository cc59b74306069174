package runner

import (
	"maps"
	"slices"

	"github.com/distribution/reference"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// asksForImage reports whether a task brings what its image is asked for with. Its other texts are secrets as well, which need no
// fetched files, so that they can be made before the image is there.
func asksForImage(t *structs.Task) bool {
	return slices.ContainsFunc(t.Templates, func(x *structs.Template) bool { return x.Secret != nil && x.Secret.Image })
}

// login has the image of a start asked for with what the task brought. Where that has nothing for the registry, the node's own counts.
func login(spec *drivers.Spec, config []byte) error {
	object := "task " + spec.ID + ".config." + structs.ImageKey
	image, _ := spec.Task.Config[structs.ImageKey].(string)
	name, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return structs.Errorf(structs.Invalid, object, "%q is not the name of an image: %w", image, err)
	}
	l, err := drivers.LoginFor(config, name)
	switch {
	case err != nil:
		return structs.Errorf(structs.Invalid, object, "what came with the task to ask for it: %w", err)
	case l == nil:
		return nil
	case l.Username == "" || l.Password == "":
		return structs.Errorf(structs.Invalid, object, "what came with the task for %s has no user name and password", reference.Domain(name)).
			Advise("identity tokens and credential helpers are not served: send both")
	}
	with := *spec.Task
	with.Config = maps.Clone(with.Config)
	with.Config["auth"] = map[string]any{"username": l.Username, "password": l.Password}
	spec.Task = &with
	return nil
}
