package drivers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// signals has the numbers of Linux.
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11,
	"USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
	"TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31,
}

// Signal reads "SIGTERM", "term" or "15" as a number of Linux; empty is SIGTERM. The error is Invalid.
func Signal(name string) (int, error) {
	if name == "" {
		return signals["TERM"], nil
	}
	upper := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, ok := signals[upper]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return n, nil
	}
	e := structs.Errorf(structs.Invalid, fmt.Sprintf("signal %q", name), "there is no such signal")
	if near := structs.Nearest(upper, slices.Sorted(maps.Keys(signals))); near != "" {
		e.Advise("did you mean SIG%s?", near)
	}
	return 0, e
}
