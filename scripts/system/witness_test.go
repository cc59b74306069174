//go:build linux && system

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// witness is a folder in which tasks testify. A task takes the lock of its job and index, which the kernel keeps for as
// long as the task lives, whoever believes what, and writes down who it is. A task that finds the lock taken writes that
// down and fails.
type witness struct {
	t   *testing.T
	dir string
}

const witnessScript = `
cd "$WITNESS" || exit 1
name=$PROFFER_JOB.$PROFFER_INDEX
exec 9>>"$name.lock"
if ! flock -n 9; then
  echo "$PROFFER_JOB $PROFFER_INDEX $PROFFER_INCARNATION $PROFFER_ALLOC_ID on $PROFFER_NODE_NAME" >>doubles
  exit 1
fi
echo "$PROFFER_INCARNATION $PROFFER_ALLOC_ID $$ $PROFFER_NODE_NAME" >>"$name.starts"
`

func (r *region) witness() *witness {
	r.t.Helper()
	w := &witness{t: r.t, dir: filepath.Join(r.dir, "witness")}
	if err := os.Mkdir(w.dir, 0o777); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(w.dir, 0o777); err != nil { // tasks are nobody
		r.t.Fatal(err)
	}
	return w
}

// job is the text of a job whose tasks testify and then run a shell script. It may hold further lines for its group.
func (w *witness) job(kind, name string, count int, script, group string) string {
	return fmt.Sprintf(`job %q {
  type = %q
  spread {
    attribute = "${node.name}"
    weight    = 100
  }
  group "g" {
    count = %d
    restart {
      attempts = 100
      delay    = "1s"
    }
    reschedule {
      unlimited = true
      delay     = "1s"
      max_delay = "1s"
    }
%s
    task "t" {
      config {
        command   = "/bin/sh"
        args      = ["-c", <<-EOS
%s
%s
        EOS
        ]
        isolation = "none"
      }
      env {
        WITNESS = %q
      }
      resources {
        cpu    = 0.05
        memory = "16MiB"
      }
    }
  }
}
`, name, kind, count, group, strings.ReplaceAll(witnessScript, "${", "$${"), script, w.dir)
}

// forever is the rest of a service's script: the process stays the one that has the lock.
const forever = "exec sleep 1000000"

// once is the rest of a batch job's script: it says that its work was done.
const once = `sleep 0.2; echo "$PROFFER_INCARNATION" >>"$name.done"`

// start is one start of a task, as it testified.
type testimony struct {
	incarnation uint64
	alloc       string
	pid         int
	node        string
}

// starts returns the testimonies of an index, oldest first.
func (w *witness) starts(job string, index int) (all []testimony) {
	raw, err := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("%s.%d.starts", job, index)))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			continue // is being written
		}
		s := testimony{alloc: f[1], node: f[3]}
		s.incarnation, _ = strconv.ParseUint(f[0], 10, 64)
		s.pid, _ = strconv.Atoi(f[2])
		all = append(all, s)
	}
	return all
}

// pids returns the process of each index of a service whose lock is held.
func (w *witness) pids(job string, count int) (pids map[int]int) {
	w.t.Helper()
	await(w.t, fmt.Sprintf("%d tasks of %s hold their locks", count, job), func() error {
		pids = map[int]int{}
		for i := range count {
			s := w.starts(job, i)
			if len(s) == 0 || !alive(s[len(s)-1].pid) {
				return fmt.Errorf("that of index %d is dead; it started %v", i, s)
			}
			pids[i] = s[len(s)-1].pid
		}
		return nil
	})
	return pids
}

// kept checks that the tasks of a service are the same processes as before.
func (w *witness) kept(job string, before map[int]int) {
	w.t.Helper()
	for i, pid := range before {
		s := w.starts(job, i)
		if last := s[len(s)-1]; last.pid != pid || !alive(pid) {
			w.t.Errorf("%s[%d] was process %d, alive: %t; it started %v", job, i, pid, alive(pid), s)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// done checks that each index of a batch job did its work.
func (w *witness) done(job string, count int) {
	w.t.Helper()
	for i := range count {
		if _, err := os.Stat(filepath.Join(w.dir, fmt.Sprintf("%s.%d.done", job, i))); err != nil {
			w.t.Errorf("%s[%d] is complete for the region, and its work was not done: %v", job, i, err)
		}
	}
}

// never checks that no two tasks of an index of these jobs ran at the same time, and that a later start never had an
// older incarnation.
func (w *witness) never(jobs map[string]int) {
	w.t.Helper()
	doubles, _ := os.ReadFile(filepath.Join(w.dir, "doubles"))
	for line := range strings.Lines(string(doubles)) {
		if _, ours := jobs[strings.Fields(line)[0]]; ours {
			w.t.Errorf("a second task ran beside the first one: %s", line)
		}
	}
	for job, count := range jobs {
		for i := range count {
			var last testimony
			for _, s := range w.starts(job, i) {
				if s.incarnation < last.incarnation || s.incarnation == last.incarnation && s.alloc != last.alloc {
					w.t.Errorf("%s[%d]: %+v started after %+v", job, i, s, last)
				}
				last = s
			}
		}
	}
}
