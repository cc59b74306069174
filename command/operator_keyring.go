package command

import (
	"bytes"
	"context"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func operatorKeyring(e *Environment) *command {
	c := newCommand(e, "operator keyring", "[list | install KEY | use KEY | remove KEY]", "Show and change the gossip keys").reads()
	c.about = "Show and change the keys with which agents gossip. To change the key: install the new one, use it, remove the old one.\nA key is 16, 24 or 32 random bytes in base64."
	c.max = 2
	c.predict = complete.PredictSet("list", "install", "use", "remove")
	c.run = func(ctx context.Context, args []string) error {
		op := "list"
		if len(args) > 0 {
			op = args[0]
		}
		switch {
		case op != "list" && op != "install" && op != "use" && op != "remove":
			return usagef("%q is not list, install, use or remove", op)
		case op == "list" && len(args) > 1:
			return usagef("%q is too much", args[1])
		case op != "list" && len(args) < 2:
			return usagef("the key is missing")
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		var ring *api.Keyring
		if op == "list" {
			ring, err = client.Keyring(ctx)
		} else {
			ring, err = client.ChangeKeyring(ctx, op, args[1])
		}
		if err != nil {
			return err
		}
		err = c.show(ring, func(b *bytes.Buffer) error {
			t := newTable("KEY", "PRIMARY", "MEMBERS")
			for _, key := range sortedKeys(ring.Keys) {
				t.row(key, yesNo(key == ring.Primary), ring.Keys[key])
			}
			t.write(b)
			if len(ring.Problems) > 0 {
				heading(b, "Failed")
				var d details
				for _, name := range sortedKeys(ring.Problems) {
					d.add(name, ring.Problems[name])
				}
				d.write(b)
			}
			return nil
		})
		if n := len(ring.Problems); err == nil && n > 0 && op != "list" {
			return structs.Errorf(structs.Unavailable, "keyring", "%d of %d members did not do it", n, ring.Members).
				Advise("try again: where it is done, it stays so")
		}
		return err
	}
	return c
}
