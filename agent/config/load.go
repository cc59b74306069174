package config

import "flag"

// Sources says where values came from: the files read, in order, and by path ("client.gc.max_age") the file:line or flag
// that set it.
type Sources struct {
	Files  []string
	Values map[string]string
}

// Load reads files and folders (their *.hcl and *.json files in the order of their names) and merges them in order: a later
// scalar or list replaces, maps and blocks merge name by name. Defaults are not set and nothing is validated: call Finish.
func Load(paths []string) (*Config, *Sources, error) { return nil, nil, nil }

// Flags are the command-line flags of an agent.
type Flags struct{}

// Bind defines the flags in set. The result is read after set.Parse.
func Bind(set *flag.FlagSet) *Flags { return &Flags{} }

// Config reads the files that -config names, lets flags win, sets defaults, resolves address templates and validates. The
// error lists all problems with file:line.
func (f *Flags) Config() (*Config, *Sources, error) { return nil, nil, nil }

// Reloadable compares the running configuration with a new one: changed can take effect at once, needRestart cannot. Both
// list paths ("client.meta").
func Reloadable(old, new *Config) (changed, needRestart []string) { return nil, nil }
