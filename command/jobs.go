package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

// jobFile reads jobs from files, with variables.
type jobFile struct {
	vars  listFlag
	files listFlag
}

// flags adds -var and -var-file to a command.
func (j *jobFile) flags(c *command) {
	c.flags.Var(&j.vars, "var", "`NAME=VALUE` for a variable of the job; may be repeated")
	c.flags.Var(&j.files, "var-file", "`FILE` with values for variables; may be repeated, later ones win")
}

// read returns the job in a file, or in the input when path is "-", with its defaults, and valid.
func (j *jobFile) read(e *Environment, path string) (*structs.Job, error) {
	name, src, err := e.source(path)
	if err != nil {
		return nil, err
	}
	vars := spec.Vars{Env: e.Environ(), Flags: j.vars}
	for _, f := range j.files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, unreadable(f, err)
		}
		vars.Files = append(vars.Files, spec.File{Name: f, Src: raw})
	}
	job, err := spec.ReadJob(name, src, vars, e.Checks)
	if err != nil {
		return nil, err
	}
	if job.Owner == "" {
		job.Owner = actor(e.Getenv)
	}
	for _, w := range job.Warnings(e.Checks) {
		fmt.Fprintf(e.Err, "Warning: job %q: %s\n", job.Name, clean(w))
	}
	return job, nil
}

// source reads a file of bounded size, or the input when path is "-".
func (e *Environment) source(path string) (name string, src []byte, err error) {
	in := e.In
	name = path
	if path == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return "", nil, unreadable(path, err)
		}
		defer f.Close()
		in = f
	}
	src, err = io.ReadAll(io.LimitReader(in, spec.MaxJSON+1))
	if err != nil {
		return "", nil, structs.Errorf(structs.Invalid, name, "it cannot be read: %w", err)
	}
	if len(src) > spec.MaxJSON {
		return "", nil, structs.Errorf(structs.Exhausted, name, "it is larger than %s", structs.Bytes(spec.MaxJSON))
	}
	if len(bytes.TrimSpace(src)) == 0 {
		return "", nil, structs.Errorf(structs.Invalid, name, "it is empty")
	}
	return name, src, nil
}

// unreadable is the error of a file that cannot be opened.
func unreadable(path string, err error) error {
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	return structs.Errorf(structs.NotFound, path, "it cannot be read: %w", err)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func joinNonEmpty(by string, parts ...string) string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, by)
}
