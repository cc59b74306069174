package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// scriptLimit is how long a script may take that is run because a template changed.
const scriptLimit = time.Minute

// NodeChanged says that the node is another than before: templates may refer to it.
func (a *Alloc) NodeChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		t.outdated()
	}
}

// outdated has the templates of a running task rendered again, after their splay. The next start renders those of others. The caller
// holds mu.
func (t *task) outdated() {
	if len(t.def.Templates) == 0 || t.rec.Done || t.splay != nil {
		return
	}
	var splay time.Duration
	for _, template := range t.def.Templates {
		splay = max(splay, template.Splay.Std())
	}
	if splay > 0 {
		t.later(rand.N(splay))
		return
	}
	t.reconsider()
}

// later is reconsider after some time. The caller holds mu.
func (t *task) later(d time.Duration) {
	t.splay = time.AfterFunc(d, func() {
		t.alloc.mu.Lock()
		defer t.alloc.mu.Unlock()
		t.splay = nil
		t.reconsider()
	})
}

func (t *task) reconsider() {
	t.stale = true
	if t.handle != nil { // a start that goes on now is looked at when it is through
		t.interrupt()
	}
}

// refresh writes the templates that say something else than before, and does what they want then. ctx ends when something else is wanted.
func (t *task) refresh(ctx context.Context, handle drivers.Task) {
	scope, texts, err := t.newTexts(ctx)
	var changed []*taskdir.Text
	for _, text := range texts {
		if !slices.ContainsFunc(t.texts, text.Same) && (t.texts != nil || !scope.Written(text)) {
			changed = append(changed, text)
		}
	}
	if err == nil && scope.Exposes(changed) {
		t.alloc.mu.Lock()
		t.restart("its templates read variables now, which are kept in memory")
		t.alloc.mu.Unlock()
		return
	}
	if err == nil {
		err = scope.Write(changed)
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		t.tell("template", "not rendered again: "+err.Error())
		t.alloc.mu.Lock()
		defer t.alloc.mu.Unlock()
		if waits := (*taskdir.Waits)(nil); classify(err) == shortage && t.splay == nil && !errors.As(err, &waits) {
			t.later(30 * time.Second)
		}
		return
	}
	if texts != nil {
		t.texts = texts
	}
	for _, text := range changed {
		t.owed = append(t.owed, text.Template)
		t.tell("template", text.Name()+" changed")
	}
	for _, template := range t.owed {
		if template.ChangeMode == structs.ChangeRestart || template.ChangeMode == "" {
			t.owed = nil
			t.alloc.mu.Lock()
			t.restart("template " + template.Destination + " changed")
			t.alloc.mu.Unlock()
			return
		}
	}
	signalled := map[string]bool{}
	for len(t.owed) > 0 {
		template := t.owed[0]
		if template.ChangeMode != structs.ChangeSignal || !signalled[template.ChangeSignal] {
			if !t.follow(ctx, handle, template) {
				return
			}
			signalled[template.ChangeSignal] = template.ChangeMode == structs.ChangeSignal
		}
		t.owed = t.owed[1:]
	}
}

// newTexts renders the templates as they are now.
func (t *task) newTexts(ctx context.Context) (*taskdir.Scope, []*taskdir.Text, error) {
	driver, err := t.driver()
	if err != nil {
		return nil, nil, err
	}
	_, scope, err := t.spec(ctx, driver, t.rec.Start)
	if err != nil {
		return nil, nil, err
	}
	texts, err := ask(t, scope, scope.Texts, false)
	return scope, texts, err
}

// follow does what a changed template wants. False: something else is wanted, and it is to be done later.
func (t *task) follow(ctx context.Context, handle drivers.Task, template *structs.Template) bool {
	switch template.ChangeMode {
	case structs.ChangeSignal:
		err := handle.Signal(ctx, template.ChangeSignal)
		if err != nil && ctx.Err() != nil {
			return false
		}
		t.tell("template", outcome(template.ChangeSignal+" sent", err))
	case structs.ChangeScript:
		ctx, cancel := context.WithTimeoutCause(ctx, scriptLimit, errors.New("it took more than a minute"))
		defer cancel()
		said := &last{}
		exit, err := handle.Exec(ctx, drivers.Command{Args: template.ChangeScript, Stdout: said, Stderr: said})
		if err != nil && errors.Is(ctx.Err(), context.Canceled) {
			return false
		}
		if err == nil && (exit.Code != 0 || exit.Signal != 0) {
			err = fmt.Errorf("%s: %s", describe(exit), strings.TrimSpace(said.String()))
		}
		t.tell("template", outcome(template.ChangeScript[0]+" ran", err))
	}
	return true
}

func outcome(what string, err error) string {
	if err != nil {
		return what + ", and failed: " + err.Error()
	}
	return what
}

// tell notes what happened and reports it.
func (t *task) tell(kind, text string) {
	t.alloc.mu.Lock()
	defer t.alloc.mu.Unlock()
	t.event(kind, text)
	t.alloc.report()
}

// last keeps the last of what is written to it.
type last struct{ bytes.Buffer }

func (l *last) Write(b []byte) (int, error) {
	l.Buffer.Write(b)
	if n := l.Len(); n > 200 {
		l.Next(n - 200)
	}
	return len(b), nil
}
