package framework

import (
	"context"
	"errors"
)

// Scheduler is what a framework decides. Its methods, those of the optional interfaces below, and what Driver.Do is given are called
// one at a time, all from the goroutine of Driver.Run, so a scheduler needs no lock. While one runs, up to 1,024 events wait; then
// the region does, and after half a minute it cuts the scheduler off. ctx ends with the subscription: what a call was about is then
// told again by the next one.
type Scheduler interface {
	// Offers is called with resources that the framework may use now, with Driver.Launch, Driver.Accept or Driver.Decline. An offer
	// that was not used when Offers returns is declined, unless Driver.Hold was called for it.
	Offers(ctx context.Context, offers []*Offer)
	// Update is called with what is new of a task: once for each thing that the region tells, however often it has to say it, and in
	// order for each task: structs.TaskStarting comes before structs.TaskRunning. What was told is acknowledged when Update returned nil.
	// After an error it is told again, in 10 seconds or more; after ErrLater it is the scheduler that calls Driver.Acknowledge, and what
	// comes next of the task comes after that. A scheduler with a store writes to it before it returns.
	Update(ctx context.Context, u *Update) error
}

// ErrLater is returned by Scheduler.Update when Driver.Acknowledge is going to be called for the update.
var ErrLater = errors.New("it is acknowledged later")

// What a scheduler may do beside, by having the method.
type (
	// Subscriber is told of each subscription, before anything else of it. The first time, and after a restart of the scheduler, it
	// is the place for Driver.Track. Offers of earlier subscriptions are gone. An error ends Driver.Run.
	Subscriber interface {
		Subscribed(ctx context.Context, s Subscription) error
	}
	// Disconnecter is told that a subscription ended, and why. The driver subscribes again by itself.
	Disconnecter interface {
		Disconnected(err error)
	}
	// Rescinder is told that an offer that it holds is gone.
	Rescinder interface {
		Rescinded(ctx context.Context, offer string)
	}
	// Messenger takes messages of the framework's executors. They come at most once.
	Messenger interface {
		Message(ctx context.Context, m *Message)
	}
	// NodeWatcher is told that a node is gone. Each of its tasks has an Update of its own.
	NodeWatcher interface {
		NodeLost(ctx context.Context, node string)
	}
	// ExecutorWatcher is told that a custom executor ended, with the wait status of its process. Each of its tasks has an Update of
	// its own.
	ExecutorWatcher interface {
		ExecutorLost(ctx context.Context, node, executor string, status int)
	}
	// Maintainer is asked whether the framework gives nodes up for a window of maintenance. The answer is recorded; nothing more
	// comes of it. Without the method the answer is yes.
	Maintainer interface {
		Maintenance(ctx context.Context, w *Window) (leave bool)
	}
	// OperationWatcher is told what became of operations that have an ID, each once. What was told is acknowledged when Operation returned nil;
	// after an error it is told again, in 10 seconds or more. Without the method the driver acknowledges by itself.
	OperationWatcher interface {
		Operation(ctx context.Context, o *OperationUpdate) error
	}
)
