package mock

import (
	"math"
	"time"

	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// Config is what a task of this driver may say.
type Config struct {
	RunFor         time.Duration // run_for: how long it runs; -1 ("forever") until it is stopped. Default: it ends at once
	ExitCode       int           // exit_code: with which it then ends
	OOM            bool          // oom: it is reported as killed for its memory
	StartError     string        // start_error: starting fails with this
	StartErrorKind structs.Kind  // start_error_kind: of that error. Default internal
	StartDelay     time.Duration // start_delay: how long starting takes
	FailFirst      int           // fail_first: so many starts end with exit code 1
	IgnoreSignals  bool          // ignore_signals: only a kill ends it
	StopDelay      time.Duration // stop_delay: how long it runs on after a signal that ends it
	Stdout         []string      // stdout: lines that it writes at its start
	Stderr         []string      // stderr
	BusyAfter      time.Duration // busy_after: since its start, when it begins to use busy_cores; before, it uses next to nothing
	BusyCores      int           // busy_cores: how many. Default: it never uses any
	ExecExitCode   int           // exec_exit_code: of commands that are run in it
	ExecStdout     string        // exec_stdout: what they write, after their standard input. Default: their arguments
	ExecRunFor     time.Duration // exec_run_for: how long they run
	ExecFailUntil  time.Duration // exec_fail_until: in a task younger than this they end with exit code 1
	ExecFailAfter  time.Duration // exec_fail_after: and in one that is older than this
	Image          string        // image: the machine has it from the first start on, and says so
	ImageSize      structs.Bytes // image_size: what it then takes. Default: not known
	PullDelay      time.Duration // pull_delay: how much longer a start takes on a machine that does not have it
}

// Parse reads a task's config; object names the place for messages. Every fault is reported, not the first one only.
func Parse(object string, config map[string]any) (*Config, error) {
	b := schema.Read(object, config)
	c := &Config{
		ExitCode: int(b.Whole("exit_code", 0, 255, 0)), OOM: b.Bool("oom"), StartError: b.Text("start_error"), StartErrorKind: kind(b),
		StartDelay: b.Duration("start_delay").Std(), FailFirst: int(b.Whole("fail_first", 0, math.MaxInt32, 0)),
		IgnoreSignals: b.Bool("ignore_signals"), StopDelay: b.Duration("stop_delay").Std(), Stdout: lines(b, config, "stdout"), Stderr: lines(b, config, "stderr"),
		ExecExitCode: int(b.Whole("exec_exit_code", 0, 255, 0)), ExecStdout: b.Text("exec_stdout"), ExecRunFor: b.Duration("exec_run_for").Std(),
		ExecFailUntil: b.Duration("exec_fail_until").Std(), ExecFailAfter: b.Duration("exec_fail_after").Std(),
		BusyAfter: b.Duration("busy_after").Std(), BusyCores: int(b.Whole("busy_cores", 0, 1<<20, 0)),
		Image: b.Text("image"), ImageSize: b.Size("image_size"), PullDelay: b.Duration("pull_delay").Std(),
	}
	b.Login() // auth: it asks nobody
	if config["run_for"] == "forever" {
		b.Text("run_for")
		c.RunFor = -1
	} else {
		c.RunFor = b.Duration("run_for").Std()
	}
	return c, b.Err("the mock driver")
}

// lines reads a list of lines, or one.
func lines(b *schema.Block, config map[string]any, key string) []string {
	if _, one := config[key].(string); one {
		return []string{b.Text(key)}
	}
	return b.Texts(key)
}

func kind(b *schema.Block) structs.Kind {
	return structs.Kind(b.OneOf("start_error_kind", string(structs.Internal), string(structs.NotFound), string(structs.Invalid), string(structs.Conflict),
		string(structs.Forbidden), string(structs.Unavailable), string(structs.Unknown), string(structs.Exhausted)))
}
