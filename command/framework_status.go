package command

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/proffer/proffer/structs"
)

func frameworkStatus(e *Environment) *command {
	c := newCommand(e, "framework status", "FRAMEWORK", "Show a framework").reads()
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		f, _, err := client.Framework(ctx, args[0], nil)
		if err != nil {
			return err
		}
		var offers *structs.OfferStatus
		if f.Connected && !f.BuiltIn {
			offers, _ = client.FrameworkOffers(ctx, string(f.ID)) // what is not known is left out
		}
		return c.show(f, func(b *bytes.Buffer) error {
			var d details
			d.add("ID", f.ID)
			d.add("Name", f.Name)
			d.say("User", f.User)
			d.add("Roles", orDash(strings.Join(f.Roles, ", ")))
			d.add("Built in", yesNo(f.BuiltIn))
			d.add("Connected", connected(&f.Framework)+", since "+age(e.Now(), f.Since))
			d.add("Failover timeout", f.FailoverTimeout)
			if f.Until != 0 {
				d.add("Removed in", span(f.Until.Std().Sub(e.Now()))+", unless it subscribes again")
			}
			d.say("Removed", f.EndedWhy)
			d.say("Principal", f.Principal)
			d.say("Scheduler", joinNonEmpty(" ", f.Hostname, f.WebURL))
			d.say("Capabilities", strings.Join(f.Capabilities, ", "))
			for _, name := range sortedKeys(f.Labels) {
				d.add("label "+name, f.Labels[name])
			}
			if n := f.Unacknowledged; n > 0 {
				d.add("Unacknowledged", "what became of "+counted(n, "operation", "operations"))
			}
			if h := f.Hoarding; h != nil {
				d.add("Hoarding", fmt.Sprintf("it let %d offers in a row end without an answer, since %s", h.Ignored, age(e.Now(), h.Since)))
			}
			if o := offers; o != nil {
				d.add("Offers", fmt.Sprintf("offered %d times: %d used, %d declined, %d expired, %d rescinded", o.Offered, o.Accepted, o.Declined, o.Expired, o.Rescinded))
				d.say("Last offer", lastOffer(o.Last, e.Now()))
			}
			d.write(b)
			if !f.BuiltIn && f.EndedWhy == "" {
				fmt.Fprintf(b, "\nWhat runs of it: proffer alloc status -filter framework=%s\n", f.ID)
				fmt.Fprintf(b, "What it is offered, and why not more: proffer offer explain %s\n", structs.Short(f.ID))
			}
			return nil
		})
	}
	return c
}
