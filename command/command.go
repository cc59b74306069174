package command

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/posener/complete"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// command is one command. Its constructor in the file of its name fills it in; it implements the CLI's interfaces.
type command struct {
	env      *Environment
	name     string // "job status"
	args     string // "[JOB]", for the usage line
	synopsis string // one clause, for lists
	about    string // paragraphs, for help
	min, max int    // how many arguments; max < 0: any number
	flags    *flag.FlagSet
	predict  complete.Predictor // of arguments
	run      func(ctx context.Context, args []string) error
	own      bool                    // run handles interrupts itself: its context does not end with them
	main     func(args []string) int // instead of run: takes the command line as it is

	asJSON   bool   // -json
	template string // -t
}

// newCommand returns a command with the flags that all have.
func newCommand(e *Environment, name, args, synopsis string) *command {
	c := &command{env: e, name: name, args: args, synopsis: synopsis, flags: flag.NewFlagSet(name, flag.ContinueOnError), predict: complete.PredictNothing}
	c.flags.SetOutput(io.Discard)
	c.flags.Usage = func() {}
	return c
}

// remote adds the flags of commands that call an agent.
func (c *command) remote() *command {
	c.flags.StringVar(&c.env.address, "address", "", "`URL` of the agent. Default: PROFFER_ADDR, or the context, or "+api.DefaultAddress)
	c.flags.StringVar(&c.env.context, "context", "", "`NAME` of a context in the configuration file")
	return c
}

// reads adds the flags of commands that show something of the region.
func (c *command) reads() *command { return c.prints().remote() }

// prints adds the flags of commands that show something.
func (c *command) prints() *command {
	c.flags.BoolVar(&c.asJSON, "json", false, "print JSON")
	c.flags.StringVar(&c.template, "t", "", "print with a Go `TEMPLATE`; fields are those of -json")
	return c
}

// Synopsis is for lists of commands.
func (c *command) Synopsis() string { return c.synopsis }

// Help is the usage, what the command does, and its flags.
func (c *command) Help() string {
	var b strings.Builder
	b.WriteString(c.usage())
	b.WriteString("\n\n")
	about := c.about
	if about == "" {
		about = strings.ToUpper(c.synopsis[:1]) + c.synopsis[1:] + "."
	}
	b.WriteString(indent(about, "  "))
	first := true
	c.flags.VisitAll(func(f *flag.Flag) {
		if first {
			b.WriteString("\n\nFlags:")
			first = false
		}
		value, text := flag.UnquoteUsage(f)
		line := "\n  -" + f.Name
		if value != "" {
			line += " " + value
		}
		b.WriteString(line + "\n      " + text)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && !strings.Contains(text, "Default") {
			b.WriteString(". Default: " + f.DefValue)
		}
	})
	return b.String()
}

func (c *command) usage() string {
	line := "Usage: proffer " + c.name
	has := false
	c.flags.VisitAll(func(*flag.Flag) { has = true })
	if has {
		line += " [flags]"
	}
	if c.args != "" {
		line += " " + c.args
	}
	return line
}

func indent(text, by string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = by + l
		}
	}
	return strings.Join(lines, "\n")
}

// Run parses the command line, runs the command and prints its error.
func (c *command) Run(args []string) int {
	err := c.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(c.env.Out, c.Help())
		return exitOK
	}
	if err == nil && c.main != nil {
		return c.main(args)
	}
	if err == nil {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if !c.own {
			ctx, cancel = c.env.interruptible()
		}
		err = c.run(ctx, c.flags.Args())
		if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
			err = errInterrupted
		}
		cancel()
	}
	return c.fail(err)
}

// fail prints an error and returns its exit code.
func (c *command) fail(err error) int {
	code := codeOf(err)
	if printed := exitCode(0); err == nil || errors.As(err, &printed) {
		return code
	}
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		fmt.Fprintf(c.env.Err, "proffer %s: %s\n%s\n", c.name, usage.text, c.usage())
		fmt.Fprintf(c.env.Err, "Try: proffer %s -help\n", c.name)
		return code
	}
	c.env.printError(err)
	return code
}

// printError prints what failed, why and what to do.
func (e *Environment) printError(err error) {
	fault := structs.AsError(err)
	plain := *fault
	plain.Do = ""
	fmt.Fprintln(e.Err, "Error: "+clean(plain.Error()))
	if fault.Do != "" {
		fmt.Fprintln(e.Err, "Hint: "+clean(fault.Do))
	}
}

// parse reads flags, wherever they are among the arguments, and checks how many arguments there are. Commands that take
// another command line (max < 0) have their flags before it.
func (c *command) parse(args []string) error {
	var rest []string
	for {
		if err := c.flags.Parse(args); err != nil {
			return c.flagError(err)
		}
		left := c.flags.Args()
		ended := len(left) < len(args) && args[len(args)-len(left)-1] == "--"
		if c.max < 0 || ended || len(left) == 0 {
			rest = append(rest, left...)
			break
		}
		rest, args = append(rest, left[0]), left[1:]
	}
	c.flags.Parse(append([]string{"--"}, rest...)) // so that Args returns all of them
	switch n := len(rest); {
	case n < c.min:
		return usagef("%s is missing", c.argument(n))
	case c.max >= 0 && n > c.max:
		return usagef("%q is too much", rest[c.max])
	}
	if c.asJSON && c.template != "" {
		return usagef("-json and -t exclude each other")
	}
	return nil
}

// given reports whether a flag was given.
func (c *command) given(name string) (yes bool) {
	c.flags.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

// argument returns the name of the nth argument that must be given.
func (c *command) argument(n int) string {
	var names []string
	for name := range strings.FieldsSeq(c.args) {
		if !strings.HasPrefix(name, "[") {
			names = append(names, strings.TrimRight(name, "."))
		}
	}
	if n < len(names) {
		return names[n]
	}
	return "an argument"
}

func (c *command) flagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		c.flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if near := structs.Nearest(name, names); near != "" {
			return usagef("there is no flag -%s; did you mean -%s?", name, near)
		}
		return usagef("there is no flag -%s", name)
	}
	// The library does not say what it cannot parse.
	if value, name, ok := strings.Cut(strings.TrimSuffix(text, ": parse error"), " for flag -"); ok && strings.HasSuffix(text, ": parse error") {
		what := "value"
		if f := c.flags.Lookup(name); f != nil {
			what, _ = flag.UnquoteUsage(f)
		}
		return usagef("-%s: %s is not a valid %s", name, strings.TrimPrefix(value, "invalid value "), what)
	}
	return usagef("%s", text)
}

// AutocompleteArgs completes arguments.
func (c *command) AutocompleteArgs() complete.Predictor { return c.predict }

// AutocompleteFlags completes flags.
func (c *command) AutocompleteFlags() complete.Flags {
	flags := complete.Flags{}
	c.flags.VisitAll(func(f *flag.Flag) {
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			flags["-"+f.Name] = complete.PredictNothing
		} else {
			flags["-"+f.Name] = complete.PredictAnything
		}
	})
	return flags
}

// show prints v as -json and -t ask, or as table writes it.
func (c *command) show(v any, table func(w *bytes.Buffer) error) error {
	var b bytes.Buffer
	var err error
	switch {
	case c.asJSON:
		err = writeJSON(&b, v)
	case c.template != "":
		err = writeTemplate(&b, c.template, v)
	default:
		err = table(&b)
	}
	if err != nil {
		return err
	}
	_, err = c.env.Out.Write(b.Bytes())
	return err
}

// listFlag collects a flag that may be repeated.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(s string) error { *l = append(*l, s); return nil }
