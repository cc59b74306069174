package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	images "github.com/distribution/reference"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Secrets. What a framework sends as a value is taken out of what is recorded in clear, and comes to the task sealed, by a name that says
// nothing; what it refers to is a variable of the region.

const (
	maxSecret  = 64 << 10 // of one value, in bytes
	maxSecrets = 32       // of a task
)

// secretEnv gives the task a secret as an environment variable.
func (b *building) secretEnv(name string, s *wire.Secret) error {
	x, err := b.secret(s)
	if err != nil {
		return fmt.Errorf("Environment variable '%.200s': %w", name, err)
	}
	if s.Value != nil && strings.Contains(string(s.Value.Data), "\x00") {
		return fmt.Errorf("Environment variable '%.200s': its value has a NUL, which no variable can have: use a volume with a source of the type SECRET", name)
	}
	x.Env = name
	b.texts(fmt.Sprintf("secrets/env-%d", b.made), x)
	return nil
}

// secretFile makes a bind the file of a secret. Files that the task sees in one folder are in one here, too.
func (b *building) secretFile(x *structs.Bind, s *wire.Secret) error {
	secret, err := b.secret(s)
	if err != nil {
		return err
	}
	folder, name := path.Split(x.Destination)
	n, known := b.folders[folder]
	if !known {
		if b.folders == nil {
			b.folders = map[string]int{}
		}
		n = len(b.folders)
		b.folders[folder] = n
	}
	x.From, x.Source, x.ReadOnly = structs.BindSecret, fmt.Sprintf("volume-%d/%s", n, name), true
	b.texts("secrets/"+x.Source, secret)
	return nil
}

// imageSecret has an image asked for with what the framework sends for that: the one that is mounted at a path, or without a path that of the task.
func (b *building) imageSecret(i *wire.DockerImage, mount string) error {
	if i.Config == nil {
		return nil
	}
	x, err := b.secret(i.Config)
	if err != nil {
		return fmt.Errorf("'Image.Docker.config': %w", err)
	}
	x.Image, x.Mount = true, mount
	b.texts(fmt.Sprintf("secrets/image-%d", b.made), x)
	return nil
}

// credentials puts what the images of a container are asked for with where it is kept from everybody: the older 'credential' of an image becomes
// the 'config' that took its place.
func credentials(c *wire.ContainerInfo) (err error) {
	each(reflect.ValueOf(c), func(i *wire.DockerImage) {
		c := i.Credential
		switch {
		case c == nil || err != nil:
			return
		case i.Config != nil:
			err = errors.New("'Image.Docker' has a 'config' and a 'credential': leave the 'credential' out")
			return
		}
		name, bad := images.ParseNormalizedNamed(i.Name)
		if bad != nil {
			err = fmt.Errorf("'%.300s' is not the name of an image", i.Name)
			return
		}
		type login struct {
			Username string `json:"username"`
			Password string `json:"password"`
		}
		raw, _ := json.Marshal(map[string]any{"auths": map[string]login{images.Domain(name): {c.Principal, wire.TextOf(c.Secret)}}}) // of strings alone
		i.Credential, i.Config = nil, &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: raw}}
	})
	return err
}

// texts has the node write a secret before the task starts. Who runs it in an image is not known here, and nobody else sees that file.
func (b *building) texts(destination string, s *structs.Secret) {
	perms := "0400"
	if b.task.Driver != "exec" {
		perms = "0444"
	}
	b.task.Templates = append(b.task.Templates, &structs.Template{Destination: destination, Perms: perms, ChangeMode: structs.ChangeNone,
		OnMissing: structs.MissingFail, Secret: s})
}

// secret says where a secret is.
func (b *building) secret(s *wire.Secret) (*structs.Secret, error) {
	value, at, err := b.secretOf(s)
	if err != nil || at != nil {
		return at, err
	}
	name := structs.NewID()
	b.secrets = append(b.secrets, &structs.SentSecret{Name: name, Sealed: structs.Sealed{Data: value}})
	return &structs.Secret{Sealed: name}, nil
}

// secretOf returns the value of a secret, or the item of a variable that it is.
func (b *building) secretOf(s *wire.Secret) (value []byte, at *structs.Secret, err error) {
	kind := wire.SecretByUnknown
	if s != nil && s.Type != nil {
		kind = *s.Type
	}
	if b.made++; b.made > maxSecrets {
		return nil, nil, fmt.Errorf("more than %d secrets of a task", maxSecrets)
	}
	switch {
	case kind == wire.SecretByValue && s.Value != nil && s.Reference == nil:
		if n := len(s.Value.Data); n > maxSecret {
			return nil, nil, fmt.Errorf("a secret of %d bytes, and %d are taken", n, maxSecret)
		}
		return s.Value.Data, nil, nil
	case kind == wire.SecretByReference && s.Reference != nil && s.Value == nil:
		at, err = b.reference(s.Reference)
		return nil, at, err
	}
	return nil, nil, errors.New("a secret must have a 'type' of REFERENCE or VALUE, and what belongs to it alone")
}

// reference is an item of a variable: of the role of the task when the name has no slash.
func (b *building) reference(r *wire.SecretReference) (*structs.Secret, error) {
	at := r.Name
	if !strings.Contains(at, "/") {
		at = b.role + "/" + at
	}
	if structs.VariableProblem(at) != nil {
		return nil, fmt.Errorf("'%.200s' is not the name of a variable: one of role '%s', or the path of another one, such as eng/web/db", r.Name, roleOut(b.role))
	}
	if !structs.ReadableBy(at, b.role) {
		return nil, fmt.Errorf("work of role '%s' may not read variable '%.200s': those of its role and of the roles above it can be read", roleOut(b.role), at)
	}
	if r.Key != nil && !structs.ValidName(*r.Key) {
		return nil, fmt.Errorf("'%.200s' is not the name of an item of a variable", *r.Key)
	}
	return &structs.Secret{Variable: at, Item: wire.TextOf(r.Key)}, nil
}

// withoutValues returns what an executor is described by, without the values of secrets, to be recorded and shown: its process has them.
func withoutValues(e *wire.ExecutorInfo) (out *wire.ExecutorInfo, err error) {
	if !hasValues(e) {
		return new(*e), nil
	}
	out = &wire.ExecutorInfo{}
	if err := wire.Protobuf.Unmarshal(wire.Protobuf.Marshal(e), out); err != nil {
		return nil, err
	}
	values(out, func(v *wire.SecretValue) { v.Data = []byte{} })
	return out, nil
}

// hasValues reports whether a message brings values of secrets, wherever it does.
func hasValues(message any) (has bool) {
	values(message, func(*wire.SecretValue) { has = true })
	return has
}

// recorded returns a task of a custom executor as it is recorded and shown, and apart from it the values of secrets that it brings, in
// clear, in the order of values.
func recorded(t *wire.TaskInfo) (info []byte, sent []*structs.SentSecret, err error) {
	bare := *t
	bare.Executor = nil // External.Info is put there again when the executor is told
	info = wire.Protobuf.Marshal(&bare)
	if !hasValues(&bare) {
		return info, nil, nil
	}
	out := &wire.TaskInfo{}
	if err := wire.Protobuf.Unmarshal(info, out); err != nil {
		return nil, nil, err
	}
	values(out, func(v *wire.SecretValue) {
		if len(v.Data) > maxSecret {
			err = fmt.Errorf("a secret of %d bytes, and %d are taken", len(v.Data), maxSecret)
		}
		sent = append(sent, &structs.SentSecret{Name: structs.NewID(), Sealed: structs.Sealed{Data: v.Data}})
		v.Data = []byte{}
	})
	if len(sent) > maxSecrets {
		err = fmt.Errorf("more than %d secrets of a task", maxSecrets)
	}
	return wire.Protobuf.Marshal(out), sent, err
}

// disclose puts the values of secrets back into a task that was recorded without them, for its executor alone.
func disclose(t *wire.TaskInfo, sent []string) error {
	n := 0
	values(t, func(v *wire.SecretValue) {
		if n < len(sent) {
			v.Data = []byte(sent[n])
		}
		n++
	})
	if n != len(sent) {
		return fmt.Errorf("what is recorded of task %s has %d secrets, and there are values of %d", t.TaskID.Value, n, len(sent))
	}
	return nil
}

// values calls f for each value of a secret in a message, wherever it is, always in the same order.
func values(message any, f func(*wire.SecretValue)) { each(reflect.ValueOf(message), f) }

// each calls f for each part of a message that is a pointer to a T, and not for what is in one.
func each[T any](v reflect.Value, f func(*T)) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if value, is := v.Interface().(*T); is {
			f(value)
			return
		}
		each(v.Elem(), f)
	case reflect.Struct:
		for i := range v.NumField() {
			each(v.Field(i), f)
		}
	case reflect.Slice:
		if kind := v.Type().Elem().Kind(); kind != reflect.Struct && kind != reflect.Pointer {
			return
		}
		for i := range v.Len() {
			each(v.Index(i), f)
		}
	case reflect.Map: // by texts
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			each(v.MapIndex(key), f)
		}
	}
}
