package config

import "github.com/proffer/proffer/agent/spec"

// Reloadable compares the running configuration with a new one, both finished: changed can take effect at once, needRestart
// cannot. Both list paths, such as client.meta.rack.
func Reloadable(old, new *Config) (changed, needRestart []string) {
	for _, c := range spec.Changes(old, new) {
		if c.Effect == spec.Reload {
			changed = append(changed, c.Path)
		} else {
			needRestart = append(needRestart, c.Path)
		}
	}
	return changed, needRestart
}
