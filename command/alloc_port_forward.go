package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func allocPortForward(e *Environment) *command {
	c := newCommand(e, "alloc port-forward", "ALLOC [LOCAL:]PORT …", "Reach ports of an allocation from here").remote()
	c.about = "Listen here, at LOCAL or a free port, and connect who comes to a port of an allocation, by the name of the port."
	c.min, c.max = 2, -1
	c.predict = predictAllocs(e)
	bind := c.flags.String("bind", "127.0.0.1", "`ADDRESS` to listen on; everybody who reaches it reaches the task")
	job := c.flags.Bool("job", false, "the first argument is the name of a job")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		a, _, err := targetOf(ctx, client, args[:1], *job)
		if err != nil {
			return err
		}
		var listeners []net.Listener
		defer func() {
			for _, l := range listeners {
				l.Close()
			}
		}()
		var ports []string
		for _, arg := range args[1:] {
			local, port, found := strings.Cut(arg, ":")
			if !found {
				local, port = "0", arg
			}
			if err := hasPort(a, port); err != nil {
				return err
			}
			l, err := net.Listen("tcp", net.JoinHostPort(*bind, local))
			if err != nil {
				return structs.Errorf(structs.Invalid, arg, "cannot listen on %s: %w", net.JoinHostPort(*bind, local), err).
					Advise("choose another LOCAL port, or none")
			}
			listeners, ports = append(listeners, l), append(ports, port)
		}
		for i, l := range listeners {
			fmt.Fprintf(e.Out, "%s -> port %q of %s[%d] on %s\n", l.Addr(), ports[i], cell(a.Group), a.Index, cell(a.NodeName))
		}
		return e.forward(ctx, client, string(a.ID), listeners, ports)
	}
	return c
}

func hasPort(a *api.AllocDetail, port string) error {
	var names []string
	for _, p := range a.Ports {
		if p.Label == port && port != "" {
			return nil
		}
		if p.Label != "" {
			names = append(names, p.Label)
		}
	}
	err := structs.Errorf(structs.NotFound, "allocation "+structs.Short(a.ID), "it has no port %q", port)
	if len(names) == 0 {
		return err.Advise("its group names no ports: give it a network block")
	}
	return err.Advise("it has %s", strings.Join(names, ", "))
}

// forward serves listeners until ctx ends or the allocation does, and waits for all connections.
func (e *Environment) forward(ctx context.Context, client *api.Client, alloc string, listeners []net.Listener, ports []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	defer all.Wait()
	for i, l := range listeners {
		defer context.AfterFunc(ctx, func() { l.Close() })()
		all.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					cancel(err)
					return
				}
				all.Go(func() {
					err := client.Forward(ctx, alloc, ports[i], conn.(*net.TCPConn))
					switch structs.KindOf(err) {
					case "", structs.Unavailable:
						if err != nil && ctx.Err() == nil {
							e.printError(err)
						}
					default: // it has ended, or is not there any more
						cancel(err)
					}
				})
			}
		})
	}
	<-ctx.Done()
	err := context.Cause(ctx)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
