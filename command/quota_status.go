package command

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func quotaStatus(e *Environment) *command {
	c := newCommand(e, "quota status", "[ROLE]", "Show what roles may have, have and wait for").reads()
	c.about = "Show, for each role and resource, the guarantee, the limit, what is used and what waiting work asks for; each with the\n" +
		"roles below. The rows of allocations have max_running and max_pending. Of one role, the parts that user_limit and\n" +
		"max_framework_share bound are shown too."
	c.max = 1
	c.predict = predictRoles(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			q, _, err := client.Quota(ctx, args[0], nil)
			if err != nil {
				return err
			}
			return c.show(q, func(b *bytes.Buffer) error { writeQuotas(b, []*api.QuotaStatus{q}); writeParts(b, q); return nil })
		}
		all, _, err := api.Collect(ctx, nil, client.Quotas)
		if err != nil {
			return err
		}
		return c.show(all, func(b *bytes.Buffer) error {
			if len(all) == 0 {
				b.WriteString("There are no roles.\n")
				return nil
			}
			writeQuotas(b, all)
			return nil
		})
	}
	return c
}

func writeQuotas(b *bytes.Buffer, all []*api.QuotaStatus) {
	t := newTable("ROLE", "RESOURCE", "GUARANTEE", "LIMIT", "USED", "WAITING")
	for _, q := range all {
		for _, resource := range quotaResources(q) {
			bound := func(amount *structs.QuotaAmount) string {
				if v, named := amount.Of(resource); named {
					return structs.AmountText(resource, v)
				}
				return "-"
			}
			t.row(q.Role, resource, bound(q.Guarantee), bound(q.Limit), structs.AmountText(resource, q.Used.Amount(resource)),
				structs.AmountText(resource, q.Waiting.Amount(resource)))
		}
		t.row(q.Role, "allocations", "-", numberOrDash(q.MaxRunning), q.Running, waitingOf(q))
	}
	t.write(b)
}

// writeParts shows what the owners of work and the schedulers of frameworks hold where a role bounds that.
func writeParts(b *bytes.Buffer, q *api.QuotaStatus) {
	if len(q.Parts) == 0 {
		return
	}
	b.WriteString("\n")
	t := newTable("PART", "RESOURCE", "LIMIT", "USED")
	for _, p := range q.Parts {
		name := "owner " + p.Owner
		if p.FrameworkScheduler {
			name = "framework schedulers"
		}
		for _, resource := range quotaResources(&api.QuotaStatus{Used: p.Used}) {
			t.row(name, resource, structs.AmountText(resource, p.Limit.Amount(resource)), structs.AmountText(resource, p.Used.Amount(resource)))
		}
	}
	t.write(b)
}

func numberOrDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func waitingOf(q *api.QuotaStatus) string {
	if q.MaxPending == 0 {
		return strconv.Itoa(q.Pending)
	}
	return strconv.Itoa(q.Pending) + " of " + strconv.Itoa(q.MaxPending)
}

// quotaResources names cores and memory, and whatever else a role is bounded in, uses or waits for.
func quotaResources(q *api.QuotaStatus) []string {
	custom := map[string]bool{}
	disk := q.Used.Disk != 0 || q.Waiting.Disk != 0
	for _, amount := range []*structs.QuotaAmount{q.Guarantee, q.Limit} {
		if amount != nil {
			disk = disk || amount.Disk != nil
			for name := range amount.Custom {
				custom[name] = true
			}
		}
	}
	for _, r := range []structs.Resources{q.Used, q.Waiting} {
		for name := range r.Custom {
			custom[name] = true
		}
	}
	names := []string{"cpu", "memory"}
	if disk {
		names = append(names, "disk")
	}
	return append(names, slices.Sorted(maps.Keys(custom))...)
}
