package state

func (*Initialize) Kind() string      { return "region.initialize" }
func (*SetFeatureLevel) Kind() string { return "region.level" }
func (*SetGeneration) Kind() string   { return "region.generation" }
func (*RegisterNode) Kind() string    { return "node.register" }
func (*SetNodeStatus) Kind() string   { return "node.status" }
func (*SetLease) Kind() string        { return "node.lease" }
func (*LoseAllocs) Kind() string      { return "node.lose" }
func (*SetEligibility) Kind() string  { return "node.eligibility" }
func (*SetDrain) Kind() string        { return "node.drain" }
func (*RemoveNode) Kind() string      { return "node.remove" }
func (*SubmitJob) Kind() string       { return "job.submit" }
func (*StopJob) Kind() string         { return "job.stop" }
func (*ScaleJob) Kind() string        { return "job.scale" }
func (*RestartJob) Kind() string      { return "job.restart" }
func (*SetJobStatus) Kind() string    { return "job.status" }
func (*Place) Kind() string           { return "place" }
func (*Observe) Kind() string         { return "observe" }
func (*StopAlloc) Kind() string       { return "alloc.stop" }
func (*RestartAlloc) Kind() string    { return "alloc.restart" }
func (*PutRole) Kind() string         { return "role.put" }
func (*PutRoles) Kind() string        { return "role.put_all" }
func (*DeleteRole) Kind() string      { return "role.delete" }
func (*PutFramework) Kind() string    { return "framework.put" }
func (*SetHoarding) Kind() string     { return "framework.hoarding" }
func (*Collect) Kind() string         { return "collect" }

func (*SetMaintenance) Kind() string   { return "node.maintenance" }
func (*BeginMaintenance) Kind() string { return "node.maintenance_begin" }
