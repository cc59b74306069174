// Command proffer is all of Proffer: agent, supervisor and command line in one binary.
package main

import (
	"os"

	"github.com/proffer/proffer/agent"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/command"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

func main() {
	os.Exit(command.Run(os.Args[1:], command.System(version, agent.Validators()), command.Mains{
		Agent:      func(args []string) int { return agent.Main(version, args, os.Stderr) },
		Supervisor: supervisor.Main,
	}))
}
