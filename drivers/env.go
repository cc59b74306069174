package drivers

import (
	"slices"
	"strings"
)

// Overlay returns an environment with the variables of more over it. Neither is changed.
func Overlay(env, more []string) []string {
	if len(more) == 0 {
		return env
	}
	set := make(map[string]bool, len(more))
	for _, kv := range more {
		set[name(kv)] = true
	}
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return set[name(kv)] })
	return append(out, more...)
}

func name(kv string) string {
	n, _, _ := strings.Cut(kv, "=")
	return n
}
