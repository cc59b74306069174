package mesos

import (
	"context"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// Region is what the scheduler API needs of a server.
type Region interface {
	// LeaderHTTP returns where the leader serves HTTP, as host:port, empty while there is none, and whether it is this server.
	LeaderHTTP(ctx context.Context) (address string, self bool, err error)
	// NextLeaderHTTP waits for a leader that answers, for some seconds.
	NextLeaderHTTP(ctx context.Context) (address string, self bool, err error)

	Subscribe(ctx context.Context, actor string, f *structs.Framework) (*server.Subscription, error)
	UpdateFramework(ctx context.Context, actor, connection string, f *structs.Framework) error
	CheckSubscribed(id structs.FrameworkID, connection string) error
	EndSubscription(ctx context.Context, actor string, id structs.FrameworkID, connection string) error
	Accept(ctx context.Context, id structs.FrameworkID, connection string, offers []structs.OfferID, ops []*server.FrameworkOperation,
		filter allocator.Filter) (*server.Accepted, error)
	Decline(id structs.FrameworkID, connection string, offers []structs.OfferID, filter allocator.Filter) error
	Revive(id structs.FrameworkID, connection string, roles []string) error
	Suppress(id structs.FrameworkID, connection string, roles []string) error
	Demand(id structs.FrameworkID, connection string, wants []allocator.Want) error
	AnswerInverse(id structs.FrameworkID, connection string, offers []structs.OfferID, accept bool, filter allocator.Filter) error
	KillTask(ctx context.Context, id structs.FrameworkID, connection string, t server.TaskName) error
	Acknowledge(ctx context.Context, id structs.FrameworkID, connection string, ack state.Acknowledged) error
	Reconcile(id structs.FrameworkID, connection string, tasks []server.TaskName) error
	StopExecutor(ctx context.Context, id structs.FrameworkID, connection string, node structs.NodeID, executor string) error
	MessageExecutor(ctx context.Context, id structs.FrameworkID, connection string, m server.ExecutorMessage) error
	AcknowledgeOperation(ctx context.Context, id structs.FrameworkID, connection string, ack state.AcknowledgedOperation) error
	// Tell has a framework told of a task, once.
	Tell(id structs.FrameworkID, connection string, news ...*server.TaskNews) error
	TellOperations(id structs.FrameworkID, connection string, news ...*server.OperationNews) error
	ReconcileOperations(id structs.FrameworkID, connection string, asked []*server.OperationNews) error
	Framework(id structs.FrameworkID) *structs.Framework
}
