package command

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

func roleApply(e *Environment) *command {
	c := newCommand(e, "role apply", "FILE", "Store the roles in a file").remote()
	c.about = "Store the roles in FILE (- is the input): blocks role \"eng/web\" { … } in HCL, or one object in JSON."
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
		for _, r := range roles {
			if _, err := client.PutRole(ctx, r); err != nil {
				return err
			}
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

func roleList(e *Environment) *command {
	c := newCommand(e, "role list", "", "List roles and what they use").reads()
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		roles, _, err := api.Collect(ctx, nil, client.Roles)
		if err != nil {
			return err
		}
		return c.show(roles, func(b *bytes.Buffer) error {
			if len(roles) == 0 {
				b.WriteString("There are no roles.\n")
				return nil
			}
			t := newTable("ROLE", "WEIGHT", "MAX PRIORITY", "JOBS", "USED", "GUARANTEE", "LIMIT")
			for _, r := range roles {
				t.row(r.Name, weightOf(&r.Role), orDash(r.MaxPriority), r.Jobs, r.Used, guarantee(&r.Role), limit(&r.Role))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func roleStatus(e *Environment) *command {
	c := newCommand(e, "role status", "ROLE", "Show a role").reads()
	c.min, c.max = 1, 1
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		r, _, err := client.Role(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(r, func(b *bytes.Buffer) error {
			var d details
			d.add("Role", r.Name)
			d.say("Description", r.Description)
			d.add("Weight", weightOf(&r.Role))
			d.add("Max priority", orDash(r.MaxPriority))
			d.add("Guarantee", guarantee(&r.Role))
			d.add("Limit", limit(&r.Role))
			d.add("Used", r.Used)
			d.add("Jobs", r.Jobs)
			d.write(b)
			return nil
		})
	}
	return c
}

func roleDelete(e *Environment) *command {
	c := newCommand(e, "role delete", "ROLE", "Remove a role that nothing uses").remote()
	c.min, c.max = 1, 1
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if _, err := client.DeleteRole(ctx, args[0]); err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.Out, "Role %q is removed.\n", args[0])
		return err
	}
	return c
}

func weightOf(r *structs.Role) structs.Milli {
	if r.Weight == 0 {
		return 1000
	}
	return r.Weight
}

func guarantee(r *structs.Role) string {
	if r.Quota == nil {
		return "-"
	}
	return amount(r.Quota.Guarantee)
}

func limit(r *structs.Role) string {
	if r.Quota == nil {
		return "-"
	}
	return amount(r.Quota.Limit)
}

func amount(q *structs.QuotaAmount) string {
	if q == nil {
		return "-"
	}
	var parts []string
	if q.CPU != nil {
		parts = append(parts, "cpu "+q.CPU.String())
	}
	if q.Memory != nil {
		parts = append(parts, "memory "+q.Memory.String())
	}
	if q.Disk != nil {
		parts = append(parts, "disk "+q.Disk.String())
	}
	for _, name := range sortedKeys(q.Custom) {
		parts = append(parts, name+" "+q.Custom[name].String())
	}
	return orDash(strings.Join(parts, ", "))
}
