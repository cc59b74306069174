package operator

import (
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// executor is what a framework said of an executor.
type executor wire.ExecutorInfo

// executorInfo returns the executor that an allocation is, as its framework described it.
func executorInfo(a *structs.Allocation) *executor {
	x := &executor{}
	if wire.Protobuf.Unmarshal(a.External.Info, (*wire.ExecutorInfo)(x)) != nil {
		x = &executor{}
	}
	x.ExecutorID = wire.ID{Value: a.External.Executor}
	x.FrameworkID = &wire.ID{Value: string(a.Framework)}
	return x
}

func (x *executor) name() string {
	if x.Name != nil {
		return *x.Name
	}
	return ""
}

func executorType(a *structs.Allocation) string {
	if a.External.Custom {
		return wire.ExecutorCustom.String()
	}
	return wire.ExecutorDefault.String()
}
