package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func operatorKey(e *Environment) *command {
	c := newCommand(e, "operator key", "[list | rotate | export FILE | import FILE | remove ID]", "Show and change the keys of variables").reads()
	c.about = "Show and change the keys with which variables are sealed. Servers keep them in their data folders and give them to each other;\n" +
		"they are not in snapshots. rotate has all variables sealed with a new key. export writes the keys, in clear, to a file that only its\n" +
		"owner can read, for a backup beside that of the state; import gives them to servers that have a snapshot restored."
	c.max = 2
	c.predict = complete.PredictSet("list", "rotate", "export", "import", "remove")
	c.run = func(ctx context.Context, args []string) error {
		op, given := "list", ""
		if len(args) > 0 {
			op = args[0]
		}
		if len(args) > 1 {
			given = args[1]
		}
		switch op {
		case "list", "rotate":
			if given != "" {
				return usagef("%q is too much", given)
			}
		case "export", "import":
			if given == "" {
				return usagef("the file is missing")
			}
		case "remove":
			if given == "" {
				return usagef("the id is missing")
			}
		default:
			return usagef("%q is not list, rotate, export, import or remove", op)
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		switch op {
		case "rotate":
			if _, err := client.RotateKey(ctx); err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.Out, "There is a new key. What is sealed with others is sealed with it by and by: see operator key list.")
			return err
		case "export":
			return exportKeys(ctx, e, client, given)
		case "import":
			return importKeys(ctx, e, client, given)
		case "remove":
			if _, err := client.DropKey(ctx, given); err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.Out, "Key %s is forgotten.\n", structs.Short(given))
			return err
		}
		keys, err := client.RegionKeys(ctx)
		if err != nil {
			return err
		}
		return c.show(keys, func(b *bytes.Buffer) error {
			if len(keys) == 0 {
				b.WriteString("There is no key yet: the first variable makes one.\n")
				return nil
			}
			t := newTable("KEY", "ACTIVE", "VARIABLES", "MADE", "ON")
			for _, k := range keys {
				t.row(structs.Short(k.ID), yesNo(k.Active), k.Variables, moment(k.Made), fmt.Sprintf("%d of %d servers", len(k.Servers), k.Asked))
			}
			t.write(b)
			if lost := lostKeys(keys); lost != "" {
				b.WriteString("\n" + lost + "\n")
			}
			return nil
		})
	}
	return c
}

// lostKeys says which keys no server has; empty: none.
func lostKeys(keys []*api.RegionKey) string {
	var ids []string
	variables := 0
	for _, k := range keys {
		if len(k.Servers) == 0 && k.Asked > 0 {
			ids = append(ids, structs.Short(k.ID))
			variables += k.Variables
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("No server has key %s: %d variables cannot be read. Bring it back with operator key import;\nuntil then operator key rotate lets new variables be put.",
		strings.Join(ids, ", "), variables)
}

func exportKeys(ctx context.Context, e *Environment, client *api.Client, path string) error {
	keys, err := client.ExportKeys(ctx)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	if err := freeName(path); err != nil {
		return err
	}
	if _, err := saveFile(path, bytes.NewReader(append(raw, '\n'))); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.Out, "Saved %d keys to %s, in clear: whoever has them and a snapshot can read all variables.\n", len(keys.Keys), path)
	return err
}

func importKeys(ctx context.Context, e *Environment, client *api.Client, path string) error {
	raw, err := readBounded(e, path)
	if err != nil {
		return err
	}
	keys := &api.KeyExport{}
	if err := json.Unmarshal(raw, keys); err != nil || len(keys.Keys) == 0 {
		return structs.Errorf(structs.Invalid, path, "it does not hold keys as operator key export writes them")
	}
	if _, err := client.ImportKeys(ctx, keys); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.Out, "The servers have %d keys.\n", len(keys.Keys))
	return err
}
