package runner

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
)

// asks are the variables and services that the templates of a task, and the logins of its images, ask for. It is under alloc.mu.
type asks struct {
	held  []session.Ref
	news  bool        // something came since the task was last rendered and could not be started
	first time.Time   // when the oldest change came that was not acted upon; zero: there is none
	quiet *time.Timer // until it is
}

// item returns what the node knows of an item.
func (n *Node) item(ref session.Ref) *session.Item {
	if n.Items == nil {
		return nil
	}
	return n.Items.Item(ref)
}

// ask has a look at what the region knows, and the task told of changes of what that asked for. What an earlier look asked for is forgotten, unless
// this one is had beside it. Only run and recover call it.
func ask[T any](t *task, scope *taskdir.Scope, look func() (T, error), beside bool) (T, error) {
	a := t.alloc
	seen, err := look()
	asked := scope.Asked()
	a.mu.Lock()
	defer a.mu.Unlock()
	t.asks.news = false
	if a.node.Items == nil || len(asked) == 0 && (beside || len(t.asks.held) == 0) || t.rec.Done {
		return seen, err
	}
	refs := slices.Sorted(maps.Keys(asked))
	if beside {
		refs = slices.Compact(slices.Sorted(slices.Values(slices.Concat(refs, t.asks.held))))
	}
	a.node.Items.Hold(t, t.asks.held, refs)
	t.asks.held = refs
	for ref, was := range asked {
		if a.node.Items.Item(ref) != was { // it came between the look and the hold
			t.changedItem()
		}
	}
	return seen, err
}

// asked is ask; what no server has said anything of yet is waited for, shortly.
func asked[T any](ctx context.Context, t *task, scope *taskdir.Scope, look func() (T, error), beside bool) (T, error) {
	seen, err := ask(t, scope, look, beside)
	if waits := (*taskdir.Waits)(nil); errors.As(err, &waits) && !waits.Known && t.awaitItems(ctx) {
		scope.AskAgain()
		seen, err = ask(t, scope, look, beside)
	}
	return seen, err
}

// awaitItems waits a moment until something that was asked for comes. False: nothing did.
func (t *task) awaitItems(ctx context.Context) bool {
	t.alloc.mu.Lock()
	wake, news := t.wake, t.asks.news
	t.alloc.mu.Unlock()
	if !news && !sleep(ctx, time.Second, wake) {
		return false
	}
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	return t.asks.news
}

// askNothing ends that. The caller holds mu.
func (t *task) askNothing() {
	if t.asks.quiet != nil {
		t.asks.quiet.Stop()
	}
	if len(t.asks.held) > 0 {
		t.alloc.node.Items.Hold(t, t.asks.held, nil)
		t.asks.held = nil
	}
}

// Changed says that an item is another than before.
func (t *task) Changed(*session.Item) {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	t.changedItem()
}

// changedItem has a task that waits for its start look again at once, and a running one when it was quiet for long enough. The caller
// holds mu.
func (t *task) changedItem() {
	if t.rec.Done {
		return
	}
	if t.handle == nil {
		t.asks.news, t.stale = true, true // stale: a start may go on with what was before
		close(t.wake)
		t.wake = make(chan struct{})
		return
	}
	now := time.Now()
	if t.asks.first.IsZero() {
		t.asks.first = now
	}
	var least, most time.Duration
	for _, template := range t.def.Templates {
		q := template.Quiet()
		least, most = max(least, q.Min.Std()), max(most, q.Max.Std())
	}
	wait := max(0, min(least, t.asks.first.Add(most).Sub(now)))
	if t.asks.quiet != nil {
		t.asks.quiet.Stop()
	}
	t.asks.quiet = time.AfterFunc(wait, func() {
		t.alloc.mu.Lock()
		defer t.alloc.mu.Unlock()
		t.asks.first = time.Time{}
		t.outdated()
	})
}

// addEnv gives a start the variables that templates with env add.
func addEnv(spec *drivers.Spec, texts []*taskdir.Text) error {
	env, err := taskdir.Environment(texts)
	if err != nil || env == nil {
		return err
	}
	spec.Env = slices.DeleteFunc(slices.Clone(spec.Env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, set := env[name]
		return set
	})
	for _, name := range slices.Sorted(maps.Keys(env)) {
		spec.Env = append(spec.Env, name+"="+env[name])
	}
	return nil
}
