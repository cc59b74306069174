package command

import (
	"fmt"
	"sort"
	"strings"

	"github.com/mitchellh/cli"

	"github.com/proffer/proffer/structs"
)

// Mains are the parts of the binary that are not commands of the API: each takes its arguments and returns an exit code.
type Mains struct {
	Agent      func(args []string) int // proffer agent
	Supervisor func(args []string) int // proffer supervisor: started by the agent, not by people
}

// all lists the constructors of commands, in the order of help.
var all = []func(*Environment) *command{
	run,
	jobRun, jobPlan, jobValidate, jobStatus, jobStop, jobRestart, jobScale, jobDispatch, jobHistory, jobExplain, jobInspect, jobInit,
	allocStatus, allocLogs, allocExec, allocCp, allocPortForward, allocStop, allocRestart, allocFS, allocStats,
	nodeStatus, nodeStats, nodeDrain, nodeEligibility, nodePurge, maintenanceSchedule, maintenanceEnd, maintenanceStatus,
	roleApply, roleList, roleStatus, roleDelete, quotaStatus,
	reservationCreate, reservationList, reservationDelete,
	volumeCreate, volumeList, volumeStatus, volumeResize, volumeDetach, volumeDelete, volumeUndelete,
	varPut, varGet, varList, varRemove, serviceList, serviceStatus,
	frameworkList, frameworkStatus, frameworkTeardown, offerList, offerExplain,
	serverMembers, serverJoin, serverForceLeave,
	raftListPeers, raftRemovePeer, raftTransferLeader,
	snapshotSave, snapshotRestore, snapshotInspect, operatorSimulate, operatorKeyring, operatorKey,
	agentInfo, monitor, completion,
}

// groups says what commands of two words are about.
var groups = map[string]string{
	"job": "Submit, watch and change jobs", "alloc": "Look into allocations", "node": "Look at nodes and empty them", "node maintenance": "Plan when nodes will not be there",
	"role": "Share the region between roles", "quota": "Look at what roles may have and have", "reservation": "Set room on nodes aside for roles", "volume": "Storage that outlives the work which uses it", "var": "Values and secrets that work may read", "service": "Look at who gives services", "framework": "Look at frameworks", "offer": "Look at offers",
	"server": "Look at the pool of agents", "operator": "Care for the region", "operator raft": "Care for the Raft group",
	"operator snapshot": "Save and restore the region",
}

// Commands returns all commands for the CLI library.
func Commands(e *Environment, m Mains) map[string]cli.CommandFactory {
	list := map[string]cli.CommandFactory{}
	for _, construct := range all {
		// The name is known once a command is made; they are cheap.
		list[construct(e).name] = func() (cli.Command, error) {
			own := *e // flags change it
			return construct(&own), nil
		}
	}
	for name, about := range groups {
		list[name] = func() (cli.Command, error) { return &group{e, name, about, list}, nil }
	}
	list["agent"] = func() (cli.Command, error) { return agentCommand(e, m.Agent), nil }
	list["version"] = func() (cli.Command, error) { return version(e), nil }
	return list
}

// Run runs the command line args, without the name of the program, and returns the exit code.
func Run(args []string, e *Environment, m Mains) int {
	if len(args) > 0 {
		switch strings.TrimLeft(args[0], "-") {
		case "server", "client", "dev":
			if strings.HasPrefix(args[0], "-") {
				args = append([]string{"agent"}, args...)
			}
		}
		switch {
		case args[0] == "supervisor" && m.Supervisor != nil:
			return m.Supervisor(args[1:])
		case args[0] == "help" && len(args) == 2 && args[1] == "exit-codes":
			fmt.Fprint(e.Out, exitHelp())
			return exitOK
		case args[0] == "help":
			args = append(append([]string{}, args[1:]...), "-help")
		}
		// The command line that run takes is not ours: a -h in it is not a question for help.
		if args[0] == "run" {
			return runDirectly(e, run, args[1:])
		}
		if len(args) > 1 && args[0] == "alloc" && args[1] == "exec" {
			return runDirectly(e, allocExec, args[2:])
		}
	}
	list := Commands(e, m)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if _, ok := list[args[0]]; !ok {
			return unknownCommand(e, args[0], names(list, ""))
		}
	}
	c := &cli.CLI{Name: "proffer", Args: args, Version: "Proffer " + e.Version, Commands: list, HelpWriter: e.Out, ErrorWriter: e.Err,
		HelpFunc: help, Autocomplete: e.Getenv("COMP_LINE") != ""}
	code, err := c.Run()
	if err != nil {
		fmt.Fprintln(e.Err, "Error:", err)
	}
	if len(args) == 0 {
		return exitUsage
	}
	return code
}

// runDirectly runs a command that takes another command line: only what stands before that one is ours.
func runDirectly(e *Environment, construct func(*Environment) *command, args []string) int {
	own := *e
	c := construct(&own)
	for _, a := range args {
		if !strings.HasPrefix(a, "-") || a == "--" {
			break
		}
		if wantsHelp([]string{a}) {
			fmt.Fprintln(e.Out, c.Help())
			return exitOK
		}
	}
	return c.Run(args)
}

func wantsHelp(args []string) bool {
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" {
			return true
		}
	}
	return false
}

// names returns the commands below a group, or those of one word and the groups when it is empty, sorted.
func names(list map[string]cli.CommandFactory, of string) []string {
	var found []string
	for name := range list {
		rest := name
		if of != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(name, of+" "); !ok {
				continue
			}
		}
		if !strings.Contains(rest, " ") {
			found = append(found, rest)
		}
	}
	sort.Strings(found)
	return found
}

func unknownCommand(e *Environment, name string, options []string) int {
	fmt.Fprintf(e.Err, "proffer: there is no command %q\n", cell(name))
	if near := structs.Nearest(name, options); near != "" {
		fmt.Fprintf(e.Err, "Did you mean: proffer %s\n", near)
	} else {
		fmt.Fprintln(e.Err, "Try: proffer -help")
	}
	return exitUsage
}

// help lists the commands of one word and the groups.
func help(list map[string]cli.CommandFactory) string {
	var b strings.Builder
	b.WriteString("Usage: proffer COMMAND [flags] [arguments]\n\n")
	b.WriteString("Proffer runs work on a cluster. `proffer agent -dev` starts one on this machine, `proffer run -- CMD` runs a command on it.\n\nCommands:\n")
	writeList(&b, list, names(list, ""), "")
	b.WriteString("\n`proffer COMMAND -help` says more; `proffer help exit-codes` lists the exit codes. -server, -client and -dev are short for agent -server, …")
	return b.String()
}

func writeList(b *strings.Builder, list map[string]cli.CommandFactory, short []string, of string) {
	width := 0
	for _, n := range short {
		width = max(width, len(n))
	}
	for _, n := range short {
		c, err := list[of+n]()
		if err != nil {
			continue
		}
		fmt.Fprintf(b, "  %-*s  %s\n", width, n, c.Synopsis())
	}
}

func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, row := range exitTable {
		fmt.Fprintf(&b, "  %3d  %s\n", row.code, row.text)
	}
	b.WriteString("job run of a failed batch job, run, and alloc exec exit with the code of the task or command;\n" +
		"it is 128 + n when signal n ended it, 127 when there is no such program, 126 when it cannot be executed.\n")
	return b.String()
}

// group is a command that only has commands below it.
type group struct {
	env   *Environment
	name  string
	about string
	list  map[string]cli.CommandFactory
}

// Synopsis is for lists of commands.
func (g *group) Synopsis() string { return g.about }

// Help lists the commands of the group.
func (g *group) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: proffer %s COMMAND [flags] [arguments]\n\n  %s.\n\nCommands:\n", g.name, g.about)
	writeList(&b, g.list, names(g.list, g.name), g.name+" ")
	return strings.TrimRight(b.String(), "\n")
}

// HelpTemplate keeps the library from listing the commands a second time.
func (g *group) HelpTemplate() string { return "{{.Help}}\n" }

// Run is only called for what is no command.
func (g *group) Run(args []string) int {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		options := names(g.list, g.name)
		fmt.Fprintf(g.env.Err, "proffer %s: there is no command %q\n", g.name, cell(args[0]))
		if near := structs.Nearest(args[0], options); near != "" {
			fmt.Fprintf(g.env.Err, "Did you mean: proffer %s %s\n", g.name, near)
			return exitUsage
		}
	}
	fmt.Fprintln(g.env.Err, g.Help())
	return exitUsage
}
