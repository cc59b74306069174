// Package supervisor is the long-lived process of a node whose children the exec tasks are, and the agent's client of
// it. See DESIGN.md.
package supervisor

import "time"

// Main runs the supervisor with the arguments that follow the command's name; the result is the exit code. It returns
// when the supervisor ended.
func Main(args []string) int { return 0 }

// Now returns the time since boot, suspended time included: the clock of Renew.
func Now() time.Duration { return 0 }
