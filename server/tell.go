package server

import (
	"maps"
	"slices"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
)

// tellAfter is how long after a change the loop looks at why jobs wait, so that their records, and whoever follows events,
// say it too. What is placed meanwhile need not be told.
const tellAfter = time.Second

// tell has the jobs looked at again whose reason to wait is another one than their record has. The caller holds mu.
func (l *loop) tell(now time.Time) {
	if l.tellAt.IsZero() {
		if l.changed {
			l.changed, l.tellAt = false, now.Add(max(tellAfter, l.tellPause))
		}
		return
	}
	if now.Before(l.tellAt) {
		return
	}
	l.tellAt = time.Time{}
	begun := time.Now()
	for name, j := range l.jobs {
		if because := l.because(name, j); because != j.because {
			j.because = because
			l.dirty[name] = struct{}{}
		}
	}
	l.tellPause = 100 * time.Since(begun) // with very many jobs less often
	if len(l.dirty) > 0 {
		l.tellAt = now // the loop comes back at once
	}
}

// because says in a few words why a job waits; nothing when it does not, or when others come first. The words change only
// with the reason: each change is committed.
func (l *loop) because(name string, j *jobLoop) string {
	for _, group := range slices.Sorted(maps.Keys(j.wants)) {
		switch because, role := l.allocator.Because(name + "/" + group); because {
		case allocator.OfNoNode:
			if j.job.Gang != nil {
				return "the gang does not fit as a whole"
			}
			return "no node has room for group " + group
		case allocator.OfQuota:
			return "the limit of role " + role + " is reached"
		case allocator.OfClosed:
			return "role " + role + " is closed"
		}
	}
	return ""
}
