package command

import (
	"errors"
	"fmt"

	"github.com/proffer/proffer/structs"
)

// Exit codes. This table is the one place where they are defined; `proffer help exit-codes` prints it.
//
// job run of a batch job that failed, run and alloc exec exit with the code of the task or command instead (128 + n when
// signal n ended it).
const (
	exitOK          = 0
	exitFailed      = 1 // any failure that has no code of its own
	exitUsage       = 2
	exitNotFound    = 3
	exitInvalid     = 4
	exitConflict    = 5
	exitForbidden   = 6
	exitUnavailable = 7
	exitUnknown     = 8
	exitExhausted   = 9
	exitChanges     = 10 // job plan -exit-code
	exitNotPlaced   = 120
	exitUnhealthy   = 121
	exitTimeout     = 122
	exitStopped     = 123
	exitProffer     = 125
	exitInterrupt   = 130
)

var exitTable = []struct {
	code int
	text string
}{
	{exitOK, "done; for job run: the service is healthy, the batch job is complete"},
	{exitFailed, "it failed, and no other code fits"},
	{exitUsage, "the command line is wrong"},
	{exitNotFound, "there is no such thing"},
	{exitInvalid, "the input can never be accepted as it is"},
	{exitConflict, "it changed meanwhile, or its state forbids this"},
	{exitForbidden, "this caller may not do it"},
	{exitUnavailable, "no agent, or no leader: it did not happen"},
	{exitUnknown, "it may have happened: look before you try again"},
	{exitExhausted, "a bound is reached"},
	{exitChanges, "job plan -exit-code: something would change"},
	{exitNotPlaced, "job run, run: not placed; the reasons were printed"},
	{exitUnhealthy, "job run: placed, and not healthy"},
	{exitTimeout, "job run: the time of -timeout is over"},
	{exitStopped, "job run, run: somebody stopped the job meanwhile"},
	{exitProffer, "run, alloc exec: Proffer failed, not the command"},
	{exitInterrupt, "interrupted"},
}

// exitCode is an error whose message, if any, was printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a wrong command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// codeOf returns the exit code of an error.
func codeOf(err error) int {
	if err == nil {
		return exitOK
	}
	if code := exitCode(0); errors.As(err, &code) {
		return int(code)
	}
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return exitUsage
	}
	switch structs.KindOf(err) {
	case structs.NotFound:
		return exitNotFound
	case structs.Invalid:
		return exitInvalid
	case structs.Conflict:
		return exitConflict
	case structs.Forbidden:
		return exitForbidden
	case structs.Unavailable:
		return exitUnavailable
	case structs.Unknown:
		return exitUnknown
	case structs.Exhausted:
		return exitExhausted
	}
	return exitFailed
}
