package command

import (
	"bytes"
	"context"
	"fmt"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func roleApply(e *Environment) *command {
	c := newCommand(e, "role apply", "FILE", "Store the roles in a file").remote()
	c.about = "Store the roles in FILE (- is the input), all of them or none: blocks role \"eng/web\" { … } in HCL, or one object in JSON.\n" +
		"Guarantees must add up: those below a role to at most its own, those at the top to at most what the ready nodes have."
	force := c.flags.Bool("force", false, "also when a bound is below what is in use, or more is guaranteed than the nodes have")
	c.min, c.max = 1, 1
	c.predict = complete.PredictFiles("*")
	c.run = func(ctx context.Context, args []string) error {
		name, src, err := e.source(args[0])
		if err != nil {
			return err
		}
		roles, err := readRoles(name, src)
		if err != nil {
			return err
		}
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.PutRoles(ctx, roles, *force); err != nil {
			return err
		}
		for _, r := range roles {
			fmt.Fprintf(e.Out, "Role %q is stored.\n", r.Name)
		}
		return nil
	}
	return c
}

func readRoles(name string, src []byte) ([]*structs.Role, error) {
	if bytes.HasPrefix(bytes.TrimSpace(src), []byte("{")) {
		r, err := spec.ParseRole(name, src)
		return []*structs.Role{r}, err
	}
	roles, err := spec.ParseRoles(name, src)
	if err == nil && len(roles) == 0 {
		err = structs.Errorf(structs.Invalid, name, "it has no role").Advise(`write role "NAME" { … }`)
	}
	return roles, err
}
