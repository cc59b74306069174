package drivers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Signal reads "SIGTERM", "term" or "15" as a number of Linux; empty is SIGTERM. The error is Invalid.
func Signal(name string) (int, error) {
	if name == "" {
		name = "SIGTERM"
	}
	full := "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, ok := structs.Signals[full]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return n, nil
	}
	e := structs.Errorf(structs.Invalid, fmt.Sprintf("signal %q", name), "there is no such signal")
	if near := structs.Nearest(full, slices.Sorted(maps.Keys(structs.Signals))); near != "" {
		e.Advise("did you mean %s?", near)
	}
	return 0, e
}
