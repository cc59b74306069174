package exec

import (
	"context"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// View says where a task sees the shared folder and its own: an isolated one has a root of its own.
func (d *Driver) View(ctx context.Context, t *structs.Task) (drivers.View, error) {
	c := &config{}
	c.isolation, _ = t.Config["isolation"].(string) // anything else is refused at the start
	full, err := d.isolation(ctx, "task "+t.Name, c)
	if err != nil || !full {
		return drivers.View{}, err
	}
	return drivers.View{Shared: "/alloc", Task: "/"}, nil
}

// Sweep has the supervisor forget ended tasks that known does not know: the agent was killed between writing down their
// end and saying so.
func (d *Driver) Sweep(ctx context.Context, known func(id string) bool) error {
	all, err := d.sup.List(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Exit == nil || known(s.ID) {
			continue
		}
		if err := d.sup.Forget(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}
