package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/proffer/proffer/structs"
)

// example is a job that runs on a dev agent on any machine.
const example = `# An example of a service. Run it with: proffer job run %s
job "example" {
  # service keeps count allocations running; batch runs them to completion.
  type = "service"

  group "web" {
    count = 2

    # How a failed task is started again on its node.
    restart {
      attempts = 3
      delay    = "2s"
    }

    task "hello" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do echo hello from $PROFFER_JOB $PROFFER_INDEX; sleep 5; done"]
      }

      env {
        GREETING = "hello"
      }

      # cpu is in cores.
      resources {
        cpu    = 0.1
        memory = "64MiB"
      }
    }
  }
}
`

func jobInit(e *Environment) *command {
	c := newCommand(e, "job init", "[FILE]", "Write an example of a job")
	c.about = "Write an example of a job to FILE (example.hcl when it is not given), which must not exist. FILE - is the output."
	c.max = 1
	c.run = func(_ context.Context, args []string) error {
		path := "example.hcl"
		if len(args) == 1 {
			path = args[0]
		}
		if path == "-" {
			_, err := fmt.Fprintf(e.Out, example, "-")
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return structs.Errorf(structs.Conflict, path, "it exists").Advise("give another name")
		}
		if err == nil {
			_, err = fmt.Fprintf(f, example, path)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return structs.Errorf(structs.Invalid, path, "it cannot be written: %w", err)
		}
		_, err = fmt.Fprintf(e.Out, "Wrote %s. Run it with: proffer job run %s\n", path, path)
		return err
	}
	return c
}
