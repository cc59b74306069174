package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/proffer/proffer/agent/spec"
	"github.com/proffer/proffer/structs"
)

// Sources says where a configuration came from.
type Sources struct {
	Files  []string       // that were read, in order
	Values spec.Positions // by path (client.gc.max_age) the file:line or flag that set a value
}

// Load reads files and folders (of these the *.hcl and *.json files, in the order of their names) and merges them in order:
// a later value or list replaces an earlier one, blocks and maps merge name by name. Defaults are not set and nothing is
// checked but the form: Finish does that. The error lists the problems of all files.
func Load(paths []string) (*Config, *Sources, error) {
	c, s := new(Config), &Sources{Values: spec.Positions{}}
	var problems structs.Problems
	for _, path := range paths {
		files, err := expand(path)
		if err != nil {
			problems = append(problems, structs.AsError(err))
			continue
		}
		for _, file := range files {
			src, err := read(file, spec.MaxJSON)
			if err == nil {
				err = spec.Decode(file, src, c, s.Values)
			}
			if err != nil {
				problems = append(problems, structs.AsError(err))
				continue
			}
			s.Files = append(s.Files, file)
		}
	}
	delete(s.Values, "") // the configuration as a whole is in no one file
	if err := flatten(problems); err != nil {
		return nil, nil, err
	}
	return c, s, nil
}

// flatten makes one error of several, each of which may list several.
func flatten(problems structs.Problems) error {
	if len(problems) < 2 {
		return problems.Err()
	}
	lines := make([]string, len(problems))
	for i, e := range problems {
		lines[i] = e.Error()
	}
	return structs.Errorf(structs.Invalid, "configuration", "%s", strings.Join(lines, "\n"))
}

func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); (ext == ".hcl" || ext == ".json") && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

// read returns a file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if int64(len(src)) > limit {
		return nil, structs.Errorf(structs.Invalid, path, "the file has more than %s", structs.Bytes(limit))
	}
	return src, nil
}

func unreadable(path string, err error) error {
	why := err.Error()
	var cause *os.PathError
	if errors.As(err, &cause) {
		why = cause.Err.Error()
	}
	return &structs.Error{Kind: structs.Invalid, Object: path, Why: "cannot be read: " + why, Err: err}
}
