package command

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/proffer/proffer/structs"
)

func offerExplain(e *Environment) *command {
	c := newCommand(e, "offer explain", "FRAMEWORK", "Say how a framework stands with offers").reads()
	c.about = "Say what became of the offers to a framework since it connected, and for each of its roles why it does not see nodes.\nA node may be counted under several reasons."
	c.min, c.max = 1, 1
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		s, err := client.FrameworkOffers(ctx, args[0])
		if err != nil {
			return err
		}
		return c.show(s, func(b *bytes.Buffer) error {
			var d details
			d.add("Framework", s.Framework)
			held := fmt.Sprintf("%d, %s of the region", s.Outstanding, percent(s.Share))
			if s.Full {
				held += "; as much as it may have"
			}
			d.add("Outstanding", held)
			if s.Outstanding > 0 {
				d.add("Held", s.Held)
			}
			d.add("Offered", fmt.Sprintf("%d times: %d used, %d declined, %d expired, %d rescinded", s.Offered, s.Accepted, s.Declined, s.Expired, s.Rescinded))
			d.say("Last", lastOffer(s.Last, e.Now()))
			d.add("In a row", fmt.Sprintf("%d not used, %d not answered", s.Unused, s.Ignored))
			d.add("Hoarding", yesNo(s.Hoarding))
			d.write(b)
			for _, r := range s.Roles {
				heading(b, "Role "+r.Role)
				writeHidden(b, r, e)
			}
			return nil
		})
	}
	return c
}

// lastOffer says how the last offer ended; nothing when none did.
func lastOffer(l *structs.LastOffer, now time.Time) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("%s %s ago, of %s: %s", l.End, age(now, l.Time), l.NodeName, l.Resources)
}

func writeHidden(b *bytes.Buffer, r *structs.RoleOffers, e *Environment) {
	fmt.Fprintf(b, "%s outstanding\n", counted(r.Outstanding, "offer is", "offers are"))
	if r.Suppressed {
		b.WriteString("The framework wants no offers in this role.\n")
	}
	if r.Revocable != "" {
		fmt.Fprintf(b, "Revocable: %s.\n", r.Revocable)
	}
	switch {
	case r.NoPrincipal:
		fmt.Fprintf(b, "Role %s has a user_limit, and the framework has no principal: nothing is offered to it.\n", r.Limit)
	case r.Limit != "":
		fmt.Fprintf(b, "The limit of role %s leaves too little for an offer.\n", r.Limit)
	}
	if len(r.Hidden) == 0 {
		return
	}
	t := newTable("WHY NOT", "NODES", "SUCH AS", "FOR")
	for _, h := range r.Hidden {
		still := "-"
		if !h.Until.IsZero() {
			still = span(h.Until.Std().Sub(e.Now()))
		}
		t.row(h.Why, fmt.Sprintf("%d of %d", h.Nodes, r.Nodes), h.On, still)
	}
	t.write(b)
}

// percent writes thousandths.
func percent(share structs.Milli) string { return (share * 100).String() + "%" }
