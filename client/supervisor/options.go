package supervisor

import (
	"log/slog"
	"time"
)

// Options say where the supervisor of a node is and how to start one.
type Options struct {
	Dir    string        // its folder: socket, table, log. Made when absent, mode 0700
	Binary []string      // program and arguments that run Main; nil: this executable with "supervisor"
	Hide   []string      // host paths that isolated tasks must not see, beside the usual ones and Dir
	Linger time.Duration // how long it stays without tasks and agent; 0: a minute
	Logger *slog.Logger
}
