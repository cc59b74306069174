package command

import (
	"github.com/proffer/proffer/agent/config"
)

// agentCommand is proffer agent. Its flags are read twice: here, for help and for what is wrong with them, and by main.
func agentCommand(e *Environment, main func(args []string) int) *command {
	c := newCommand(e, "agent", "", "Run an agent: a server, a client, or both")
	c.about = `Run an agent until SIGTERM or an interrupt; SIGHUP has it read its configuration again. -dev is a whole region in one
process that keeps nothing. Otherwise give -server, -client or both, a data folder and the gossip key of the region, with
flags or in files; flags win. proffer -server, -client and -dev are short for this.`
	config.Bind(c.flags)
	c.main = main
	return c
}
