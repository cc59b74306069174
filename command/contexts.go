package command

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsimple"

	"github.com/proffer/proffer/structs"
)

// userConfig is the user's configuration, in HCL or JSON:
//
//	context = "prod"   # when -context and PROFFER_CONTEXT say nothing
//	at "prod" {
//	  address = "http://10.0.0.1:5050"
//	  token   = "…"
//	}
type userConfig struct {
	Context string         `hcl:"context,optional"`
	At      []namedContext `hcl:"at,block"`
}

type namedContext struct {
	Name    string `hcl:"name,label"`
	Address string `hcl:"address"`
	Token   string `hcl:"token,optional"`
}

// readContext returns the context of that name, or the file's default when name is empty, or nil when there is none.
func readContext(path, name string) (*namedContext, error) {
	if path == "" {
		return nil, noContext(path, name, nil)
	}
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noContext(path, name, nil)
	}
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, path, "it cannot be read: %w", err)
	}
	var config userConfig
	if err := hclsimple.Decode(path, src, nil, &config); err != nil {
		text := err.Error()
		if all := (hcl.Diagnostics)(nil); errors.As(err, &all) && len(all) > 0 {
			text = all[0].Error()
		}
		return nil, structs.Errorf(structs.Invalid, path, "%s", strings.TrimPrefix(text, path+":")).
			Advise(`it has context = "NAME" and blocks at "NAME" { address = "…"  token = "…" }`)
	}
	if name == "" {
		name = config.Context
	}
	if name == "" {
		return nil, nil
	}
	var names []string
	for i := range config.At {
		if config.At[i].Name == name {
			return &config.At[i], nil
		}
		names = append(names, config.At[i].Name)
	}
	return nil, noContext(path, name, names)
}

func noContext(path, name string, names []string) error {
	if name == "" {
		return nil
	}
	e := structs.Errorf(structs.NotFound, `context "`+name+`"`, "%s has none of that name", path)
	if near := structs.Nearest(name, names); near != "" {
		e.Advise("did you mean %q?", near)
	}
	return e
}
