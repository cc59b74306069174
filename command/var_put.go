package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func varPut(e *Environment) *command {
	c := newCommand(e, "var put", "PATH [NAME=VALUE | NAME=@FILE | NAME=-]...", "Put a variable").remote()
	c.about = "Put the values of a variable in the place of those that it had. PATH is ROLE/NAME: work of the role and of the roles below may\n" +
		"read it. A value is given as it is, as @ and a file, or as - for the standard input. What is on the command line can be seen by\n" +
		"others on this machine while the command runs, so that values of a secret are not taken from there."
	c.min, c.max = 1, -1
	c.predict = predictVariables(e)
	secret := c.flags.Bool("secret", false, "its values are not shown by var get and in no list; it stays so")
	from := c.flags.String("from", "", "take all values from this `FILE`, a JSON object of names and values; - is the standard input")
	merge := c.flags.Bool("merge", false, "keep the values that are not given")
	ttl := c.flags.String("ttl", "", "`TIME` after which it is gone")
	check := c.flags.Int64("check", -1, "only if this is its `VERSION` now; 0: only if there is none")
	c.run = func(ctx context.Context, args []string) error {
		put := &api.VariablePut{Items: map[string]string{}, Secret: *secret}
		var err error
		if *ttl != "" {
			if put.TTL, err = structs.ParseDuration(*ttl); err != nil {
				return usagef("-ttl: %s", err)
			}
		}
		if *check >= 0 {
			put.Check = new(uint64(*check))
		}
		if err := structs.VariableProblem(args[0]); err != nil {
			return err
		}
		open, err := readValues(e, put, *from, args[1:])
		if err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		if *merge || open != "" {
			now, _, err := client.Variable(ctx, args[0], nil)
			switch {
			case err == nil && now.Secret && open != "":
				return openValue(open)
			case *merge && err != nil && structs.KindOf(err) != structs.NotFound:
				return err
			case *merge: // now is nil when there is none
				if err := mergeValues(now, put); err != nil {
					return err
				}
			}
		}
		if err := structs.ItemsProblems(put.Items).Err(); err != nil {
			return err
		}
		written, err := client.PutVariable(ctx, args[0], put)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Variable %q is put, version %d.\n", args[0], written.Index)
		return err
	}
	return c
}

// readValues takes values from where the command line says; open is one that is on it.
func readValues(e *Environment, put *api.VariablePut, from string, args []string) (open string, err error) {
	stdin := from == "-"
	if from != "" {
		raw, err := readBounded(e, from)
		if err != nil {
			return "", err
		}
		if err := json.Unmarshal(raw, &put.Items); err != nil || put.Items == nil {
			return "", structs.Errorf(structs.Invalid, from, "it is not a JSON object of names and texts")
		}
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return "", usagef("%q is not NAME=VALUE, NAME=@FILE or NAME=-", name)
		}
		path, isFile := strings.CutPrefix(value, "@")
		switch {
		case path == "-" && stdin:
			return "", usagef("the standard input can be read once")
		case path == "-" || isFile:
			stdin = stdin || path == "-"
			raw, err := readBounded(e, path)
			if err != nil {
				return "", err
			}
			put.Items[name] = string(raw)
		case put.Secret:
			return "", openValue(name)
		default:
			open, put.Items[name] = name, value
		}
	}
	return open, nil
}

func openValue(name string) error {
	return usagef("%s: a value of a secret is not given on the command line, where others can see it: use %s=@FILE or %s=-", name, name, name)
}

// readBounded reads a file, or the standard input as "-".
func readBounded(e *Environment, path string) ([]byte, error) {
	var in io.Reader = e.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		defer f.Close()
		in = f
	}
	const most = 2 << 20
	raw, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case len(raw) > most:
		return nil, structs.Errorf(structs.Invalid, path, "it is larger than %s", structs.Bytes(most).Human())
	}
	return raw, nil
}

// mergeValues adds the values that a variable has now (nil: there is none) and that are not given, and has the put refused when it
// changes meanwhile.
func mergeValues(now *api.VariableDetail, put *api.VariablePut) error {
	if now == nil {
		if put.Check == nil {
			put.Check = new(uint64(0))
		}
		return nil
	}
	if now.Expires != 0 && put.TTL == 0 {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("variable %q", now.Path), "it expires at %s, and would stay", moment(now.Expires)).
			Advise("say with -ttl after what time it is gone")
	}
	if put.Check == nil {
		put.Check = &now.Version
	}
	all := maps.Clone(now.Items)
	maps.Copy(all, put.Items)
	put.Items = all
	return nil
}
