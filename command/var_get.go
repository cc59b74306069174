package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/proffer/proffer/structs"
)

func varGet(e *Environment) *command {
	c := newCommand(e, "var get", "PATH [NAME]", "Show a variable, or one of its values").reads()
	c.about = "Show a variable, or print one of its values as it is. Values of a secret are shown with -show, by name, or with -json or -t."
	c.min, c.max = 1, 2
	c.predict = predictVariables(e)
	show := c.flags.Bool("show", false, "show the values of a secret")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		v, _, err := client.Variable(ctx, args[0], nil)
		if err != nil {
			return err
		}
		if len(args) == 2 {
			value, ok := v.Items[args[1]]
			if !ok {
				return structs.Errorf(structs.NotFound, fmt.Sprintf("variable %q", args[0]), "it has no %q", args[1]).
					Advise("it has %s", strings.Join(sortedKeys(v.Items), ", "))
			}
			_, err := io.WriteString(e.Out, value)
			return err
		}
		return c.show(v, func(b *bytes.Buffer) error {
			var d details
			d.add("Path", v.Path)
			d.add("Version", v.Version)
			if v.Secret {
				d.add("Secret", "yes")
			}
			d.add("Modified", moment(v.Modified)+" by "+orDash(v.Actor))
			if v.Expires != 0 {
				d.add("Expires", moment(v.Expires))
			}
			d.write(b)
			heading(b, "Values")
			t := newTable("NAME", "VALUE")
			for _, name := range sortedKeys(v.Items) {
				value := v.Items[name]
				switch {
				case v.Secret && !*show:
					value = "(hidden)"
				case len(value) > 80 || strings.ContainsAny(value, "\n\r\t"):
					value = fmt.Sprintf("(%s; see var get %s %s)", structs.Bytes(len(value)).Human(), v.Path, name)
				}
				t.row(name, value)
			}
			t.write(b)
			return nil
		})
	}
	return c
}
