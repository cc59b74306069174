// Command docs writes the reference pages of the documentation from what the program itself goes by: the tags of the
// structs, the table of routes and the commands. A test fails when they are not up to date.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mitchellh/cli"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/agent/http"
	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/command"
	"github.com/proffer/proffer/structs"
)

func main() {
	for name, text := range references() {
		if err := os.WriteFile(filepath.Join("website/docs/reference", name), text, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "docs:", err)
			os.Exit(1)
		}
	}
}

// references returns the pages by their file name.
func references() map[string][]byte {
	return map[string][]byte{
		"job.md": jobs(), "agent.md": agents(), "cli.md": commands(), "api.md": routes(),
	}
}

func jobs() []byte {
	var b bytes.Buffer
	b.WriteString(`# Job and role reference

Every field of a job file. Names are the same in HCL and in JSON. [Jobs](../jobs.md) explains them with examples.

What a change of a field does to running work is one of:

| effect | meaning |
|---|---|
| in place | running allocations go on and take it over |
| reload | tasks are told and go on |
| replace | allocations are replaced, as the update block bounds it |

`)
	b.WriteString("## job\n\n")
	fields(&b, spec.Reference(structs.Job{}), "job", true)
	b.WriteString("## role\n\nA role file has one or more `role` blocks; `proffer role apply` stores them.\n\n")
	fields(&b, spec.Reference(structs.Role{}), "role", false)
	return b.Bytes()
}

func agents() []byte {
	var b bytes.Buffer
	b.WriteString(`# Agent reference

Every setting of a configuration file, and every flag. [Configuration](../agent.md) explains how they come together.

## Flags

`)
	set := flag.NewFlagSet("proffer agent", flag.ContinueOnError)
	config.Bind(set)
	b.WriteString("| flag | value | meaning |\n|---|---|---|\n")
	set.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "| `-%s` | %s | %s |\n", f.Name, value, cell(usage))
	})
	b.WriteString("\n## Settings\n\nA setting marked *reload* takes effect on SIGHUP; the others need a restart of the agent.\n\n")
	fields(&b, spec.Reference(config.Config{}), "", true)
	return b.Bytes()
}

// fields writes a table for each block. top is the name of the outermost one.
func fields(b *bytes.Buffer, rows []spec.Row, top string, effects bool) {
	byPath := map[string][]spec.Row{}
	paths := []string{""}
	for _, r := range rows {
		byPath[r.Path] = append(byPath[r.Path], r)
		if !slices.Contains(paths, r.Path) {
			paths = append(paths, r.Path)
		}
	}
	for _, path := range paths {
		name := strings.TrimPrefix(top+"."+path, ".")
		if path != "" {
			fmt.Fprintf(b, "### %s\n\n", name)
		}
		if effects {
			b.WriteString("| name | type | meaning | change |\n|---|---|---|---|\n")
		} else {
			b.WriteString("| name | type | meaning |\n|---|---|---|\n")
		}
		for _, r := range byPath[path] {
			kind := r.Type
			if kind == "" || r.Kind == "label" {
				kind = r.Kind
			}
			fmt.Fprintf(b, "| `%s` | %s | %s |", r.Name, kind, cell(r.Doc))
			if effects {
				fmt.Fprintf(b, " %s |", strings.ReplaceAll(fmt.Sprint(r.Effect), "_", " "))
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
}

// cell makes text safe in a table: a bar ends a cell, and <, * and _ are markup.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "_", `\_`).Replace(s)
}

func commands() []byte {
	var b bytes.Buffer
	b.WriteString("# Command reference\n\nWhat `proffer COMMAND -help` prints. [The command line](../cli.md) explains what all commands have in common.\n\n")
	for _, name := range slices.Sorted(maps.Keys(commandList())) {
		text, own := help(name)
		if own {
			fmt.Fprintf(&b, "## %s\n\n```text\n%s\n```\n\n", name, strings.TrimSpace(text))
		}
	}
	return b.Bytes()
}

func commandList() map[string]cli.CommandFactory {
	return command.Commands(&command.Environment{Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }}, command.Mains{})
}

// help returns the help of a command, and whether it is one: a group only lists its commands.
func help(name string) (text string, own bool) {
	c, err := commandList()[name]()
	if err != nil {
		return err.Error(), true
	}
	_, isGroup := c.(cli.CommandHelpTemplate)
	return c.Help(), !isGroup
}

func routes() []byte {
	var b bytes.Buffer
	b.WriteString("# API reference\n\nEvery call, in the order of the table that the server itself goes by. [The API](../api.md) explains what all of them\n" +
		"have in common; `/v1/openapi.json` of any agent has the types.\n\n")
	for _, r := range http.Routes() {
		fmt.Fprintf(&b, "## %s\n\n`%s %s`\n\n%s", r.Name, r.Method, r.Path, r.Summary)
		notes := []string{}
		if r.Flags&http.Write != 0 {
			notes = append(notes, "Takes an `Idempotency-Key`.")
		}
		if r.Flags&http.Read != 0 {
			notes = append(notes, "A [read](../api.md#reads).")
		}
		if r.Flags&http.List != 0 {
			notes = append(notes, "A [list](../api.md#lists).")
		}
		if r.Flags&http.Stream != 0 {
			notes = append(notes, "A stream.")
		}
		if r.Flags&http.Local != 0 {
			notes = append(notes, "About the agent that is asked.")
		}
		if len(notes) > 0 {
			b.WriteString(" " + strings.Join(notes, " "))
		}
		b.WriteString("\n\n")
		if len(r.Params) > 0 {
			b.WriteString("| parameter | type | meaning |\n|---|---|---|\n")
			for _, p := range r.Params {
				kind := p.Type
				if p.Repeat {
					kind += ", repeated"
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, kind, cell(p.Doc))
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}
