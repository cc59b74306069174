package command

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
)

const bashCompletion = "complete -C %[1]q proffer\n"

const zshCompletion = `(( $+functions[compdef] )) || { autoload -U +X compinit && compinit -i; }
autoload -U +X bashcompinit && bashcompinit
complete -o nospace -C %[1]q proffer
`

const fishCompletion = `function __complete_proffer
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct); and set COMP_LINE "$COMP_LINE "
    %[1]q
end
complete -f -c proffer -a "(__complete_proffer)"
`

func completion(e *Environment) *command {
	c := newCommand(e, "completion", "bash|zsh|fish", "Print what makes a shell complete commands")
	c.about = "Print what makes a shell complete commands, names and ids. Put into\n\n" +
		"    ~/.bashrc                   eval \"$(proffer completion bash)\"\n" +
		"    ~/.zshrc                    eval \"$(proffer completion zsh)\"\n" +
		"    ~/.config/fish/config.fish  proffer completion fish | source"
	c.min, c.max = 1, 1
	c.predict = complete.PredictSet("bash", "zsh", "fish")
	c.run = func(_ context.Context, args []string) error {
		self, err := os.Executable()
		if err != nil {
			self = "proffer"
		}
		scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
		script, ok := scripts[args[0]]
		if !ok {
			return usagef("%q is not bash, zsh or fish", args[0])
		}
		_, err = fmt.Fprintf(e.Out, script, self)
		return err
	}
	return c
}

// predictTime is how long completion may take to ask the agent.
const predictTime = time.Second

// ask completes with what an agent lists.
func ask(e *Environment, list func(context.Context, *api.Client, *api.Query) ([]string, error)) complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		client, err := e.client()
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), predictTime)
		defer cancel()
		found, _ := list(ctx, client, &api.Query{Prefix: a.Last, Stale: true, Limit: 100})
		return found
	})
}

func predictJobs(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (names []string, err error) {
		jobs, _, err := c.Jobs(ctx, q)
		for _, j := range jobs {
			names = append(names, j.Name)
		}
		return names, err
	})
}

func predictAllocs(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (ids []string, err error) {
		allocs, _, err := c.Allocations(ctx, q)
		for _, a := range allocs {
			ids = append(ids, string(a.ID))
		}
		return ids, err
	})
}

func predictNodes(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (ids []string, err error) {
		nodes, _, err := c.Nodes(ctx, q)
		for _, n := range nodes {
			ids = append(ids, string(n.ID))
		}
		return ids, err
	})
}

func predictReservations(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (ids []string, err error) {
		list, _, err := c.Reservations(ctx, q)
		for _, r := range list {
			if !r.Static {
				ids = append(ids, string(r.ID))
			}
		}
		return ids, err
	})
}

func predictVolumes(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (names []string, err error) {
		list, _, err := c.Volumes(ctx, q)
		for _, v := range list {
			names = append(names, v.Name)
		}
		return names, err
	})
}

func predictVariables(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (paths []string, err error) {
		list, _, err := c.Variables(ctx, q)
		for _, v := range list {
			paths = append(paths, v.Path)
		}
		return paths, err
	})
}

func predictServices(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (names []string, err error) {
		list, _, err := c.Services(ctx, q)
		for _, s := range list {
			names = append(names, s.Name)
		}
		return names, err
	})
}

func predictRoles(e *Environment) complete.Predictor {
	return ask(e, func(ctx context.Context, c *api.Client, q *api.Query) (names []string, err error) {
		roles, _, err := c.Roles(ctx, q)
		for _, r := range roles {
			names = append(names, r.Name)
		}
		return names, err
	})
}
