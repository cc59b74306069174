package command

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/api"
)

func serviceList(e *Environment) *command {
	c := newCommand(e, "service list", "", "List services").reads()
	c.about = "List services, which groups of jobs have, and how many allocations give them: those that run and are ready."
	c.run = func(ctx context.Context, _ []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, _, err := api.Collect(ctx, nil, client.Services)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("There are no services.\n")
				return nil
			}
			t := newTable("SERVICE", "READY", "JOBS", "TAGS")
			for _, s := range list {
				t.row(s.Name, fmt.Sprintf("%d of %d", s.Ready, s.Allocs), strings.Join(s.Jobs, ", "), orDash(strings.Join(s.Tags, ", ")))
			}
			t.write(b)
			return nil
		})
	}
	return c
}

func serviceStatus(e *Environment) *command {
	c := newCommand(e, "service status", "SERVICE", "Show who gives a service").reads()
	c.min, c.max = 1, 1
	c.predict = predictServices(e)
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		list, _, err := client.Service(ctx, args[0], nil)
		if err != nil {
			return err
		}
		return c.show(list, func(b *bytes.Buffer) error {
			if len(list) == 0 {
				b.WriteString("Nothing that has it runs and is ready.\n")
				return nil
			}
			var ids []string
			for _, i := range list {
				ids = append(ids, string(i.Alloc))
			}
			short := shorten(ids)
			t := newTable("ADDRESS", "TAGS", "ALLOC", "JOB", "GROUP", "INDEX", "NODE")
			for _, i := range list {
				address := i.Address
				if i.Port != 0 {
					address = net.JoinHostPort(i.Address, strconv.Itoa(i.Port))
				}
				t.row(address, orDash(strings.Join(i.Tags, ", ")), short(string(i.Alloc)), i.Job, i.Group, i.Index, i.NodeName)
			}
			t.write(b)
			return nil
		})
	}
	return c
}
