package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Program is what a CommandInfo runs. With shell that is a shell; without, Mesos executes 'value' with 'arguments' as argv, of which the first is
// what the program is called.
type Program struct {
	Path string  // or a name that is looked up in PATH; empty: what the image says
	Arg0 *string // what it is called; nil: Path
	Args []string
}

// ProgramOf returns it. Without a shell it may say no program: then all arguments are for that of an image.
func ProgramOf(c *wire.CommandInfo) (p Program, err error) {
	value := wire.TextOf(c.Value)
	if c.Shell == nil || *c.Shell {
		if value == "" {
			return p, errNoValue
		}
		return Program{Path: "/bin/sh", Args: []string{"-c", value}}, nil
	}
	if p = (Program{Path: value, Args: c.Arguments}); value == "" || len(p.Args) == 0 {
		return p, nil
	}
	if p.Args[0] != value { // the same is what it is called anyway
		p.Arg0 = &p.Args[0]
	}
	p.Args = p.Args[1:]
	return p, nil
}

var errNoValue = errors.New("CommandInfo has no 'value'")

// inDocker returns the arguments of what a container of the type DOCKER runs or has run in it. Mesos hands 'value' and all of 'arguments' to docker
// there: the first of all is the program, or else the first argument of the image's.
func inDocker(c *wire.CommandInfo) (args []string) {
	if value := wire.TextOf(c.Value); value != "" {
		args = append(args, value)
	}
	return append(args, c.Arguments...)
}

// runs fills in what the driver of a task runs. config has the settings of a container with an image; nil: there is none.
func (b *building) runs(config map[string]any) error {
	c, list := b.says, "args"
	if b.task.Driver == "docker" && c.Shell != nil && !*c.Shell {
		if all := literals(inDocker(c)); len(all) > 0 {
			config[list] = all
		}
		return nil // it begins where the image says, as in Mesos
	}
	p, err := ProgramOf(c)
	if err != nil {
		return err
	}
	switch {
	case config == nil && p.Path == "":
		return errNoValue
	case config == nil:
		b.task.Config = map[string]any{"command": literal(p.Path)}
		config = b.task.Config
	case p.Path == "": // that of the image, where it says
		if len(p.Args) > 0 {
			config[list] = literals(p.Args)
		}
		return nil
	default: // in the folder with what was fetched, unless it says another
		config["entrypoint"] = []any{literal(p.Path)}
		if config["work_dir"] == nil {
			config["work_dir"] = "/local"
		}
	}
	config[list] = literals(p.Args)
	if p.Arg0 != nil {
		config["arg0"] = literal(*p.Arg0)
	}
	return nil
}

func literals(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = literal(s)
	}
	return out
}

// asks fills in the command of a check of a task. It runs as the task does, so what would be otherwise is refused. Its texts are not looked at for
// references.
func asks(task *structs.Task, to *structs.Check, c *wire.CommandInfo, what string) error {
	if c.Environment != nil && len(c.Environment.Variables) > 0 || len(c.URIs) > 0 || c.User != nil {
		return fmt.Errorf("'environment', 'uris' and 'user' of the command of a %s are not served: it runs as the task does", what)
	}
	p, err := ProgramOf(c)
	to.Type, to.Arg0, to.Command = "exec", p.Arg0, append([]string{p.Path}, p.Args...)
	if task.Driver == "docker" && c.Shell != nil && !*c.Shell {
		to.Arg0, to.Command = nil, inDocker(c)
	}
	if err != nil || len(to.Command) == 0 || to.Command[0] == "" {
		return fmt.Errorf("The command of a %s has no 'value'", what)
	}
	for _, s := range slices.Concat(to.Command, c.Arguments) { // of those the first may be what the program is called
		if strings.Contains(s, "\x00") {
			return fmt.Errorf("The command of a %s has a zero byte", what)
		}
	}
	return nil
}
