package allocator

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

func (p *play) options(args map[string]string) (err error) {
	var o Options
	if v := args["most"]; v != "" {
		if o.MostOffers, err = strconv.Atoi(v); err != nil {
			return err
		}
	}
	if v := args["victims"]; v != "" {
		if o.MostPreempted, err = strconv.Atoi(v); err != nil {
			return err
		}
	}
	if v := args["most_share"]; v != "" {
		if o.MostOffered, err = structs.ParseMilli(v); err != nil {
			return err
		}
	}
	if v := args["backoff"]; v != "" {
		if o.Backoff, err = structs.ParseDuration(v); err != nil {
			return err
		}
	}
	if o.Smallest, err = bundlesOf(args["smallest"]); err != nil {
		return err
	}
	p.a, p.places = New(o), map[string]*Place{}
	return nil
}

func bundlesOf(text string) (out []*structs.QuotaAmount, err error) {
	if text == "" {
		return nil, nil
	}
	for bundle := range strings.SplitSeq(text, "|") {
		amount, err := amountOf(bundle)
		if err != nil {
			return nil, err
		}
		q := &structs.QuotaAmount{Custom: amount.Custom}
		if amount.CPU != 0 {
			q.CPU = &amount.CPU
		}
		if amount.Memory != 0 {
			q.Memory = &amount.Memory
		}
		out = append(out, q)
	}
	return out, nil
}

// framework gives the terms to each role that is named.
func (p *play) framework(words []string, args map[string]string) (err error) {
	f := &structs.Framework{ID: structs.FrameworkID(words[0]), Roles: words[1:], Principal: args["principal"], Terms: map[string]*structs.OfferTerms{}}
	for _, role := range f.Roles {
		t := &structs.OfferTerms{Suppressed: args["suppressed"] == role, Revocable: args["revocable"] == "yes"}
		if t.Smallest, err = bundlesOf(args["smallest"]); err != nil {
			return err
		}
		if args["without"] != "" {
			t.Without = []string{args["without"]}
		}
		if args["where"] != "" {
			for group := range strings.SplitSeq(args["where"], "|") {
				var list []*structs.Constraint
				for c := range strings.SplitSeq(group, "&") {
					part := append(strings.SplitN(c, ":", 3), "", "")
					list = append(list, &structs.Constraint{Attribute: part[0], Operator: part[1], Value: part[2]})
				}
				t.Where = append(t.Where, list)
			}
		}
		f.Terms[role] = t
	}
	return p.a.SetFramework(f)
}

func (p *play) offers(name string) (string, error) {
	s, ok := p.a.Offered(structs.FrameworkID(name), true)
	if !ok {
		return "", structs.Errorf(structs.NotFound, "framework "+name, "it is not registered for offers")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d outstanding, share %s; %d offered: %d used, %d declined, %d expired, %d rescinded", s.Outstanding, s.Share, s.Offered,
		s.Accepted, s.Declined, s.Expired, s.Rescinded)
	if s.Full {
		b.WriteString("; its budget is used up")
	}
	if s.Hoarding {
		fmt.Fprintf(&b, "; hoarding: %d in a row not answered", s.Ignored)
	}
	b.WriteString("\n")
	for _, r := range s.Roles {
		fmt.Fprintf(&b, "%s: %d outstanding", r.Role, r.Outstanding)
		if r.Suppressed {
			b.WriteString(", suppressed")
		}
		if r.Limit != "" {
			fmt.Fprintf(&b, ", nothing left under the limit of %s", r.Limit)
		}
		b.WriteString("\n")
		if r.Revocable != "" {
			fmt.Fprintf(&b, "  revocable: %s\n", r.Revocable)
		}
		for _, h := range r.Hidden {
			fmt.Fprintf(&b, "  %s: %d of %d nodes (%s)", h.Why, h.Nodes, r.Nodes, h.On)
			if !h.Until.IsZero() {
				fmt.Fprintf(&b, " for %s", h.Until.Sub(p.now))
			}
			b.WriteString("\n")
		}
	}
	return b.String(), nil
}

func hoardText(h *Hoard) string {
	if h.Over {
		return fmt.Sprintf("%s answers offers again\n", h.Framework)
	}
	return fmt.Sprintf("%s hoards: %d offers in a row not answered\n", h.Framework, h.Ignored)
}

func (p *play) window(text string) (*structs.Maintenance, error) {
	in, lasts, _ := strings.Cut(text, "+")
	start, err := structs.ParseDuration(in)
	if err != nil {
		return nil, err
	}
	m := &structs.Maintenance{Window: structs.Window{Start: p.now.Add(start)}}
	if lasts != "" {
		m.Duration, err = structs.ParseDuration(lasts)
	}
	return m, err
}

func (p *play) leaving() string {
	var b strings.Builder
	for _, x := range p.a.InverseOffers() {
		fmt.Fprintf(&b, "%s of %s: %s\n", x.NodeName, x.Framework, x.Answer)
	}
	return b.String()
}
