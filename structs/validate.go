package structs

// ConfigChecks has the drivers that a job may name, each with the check of a task's config (drivers.Driver.Validate).
type ConfigChecks = map[string]func(object string, config map[string]any) error

// Validate reports every problem of a canonical job (see Canonicalize), offline: nothing but the job and drivers is
// looked at. A nil drivers skips what only drivers know. The error is a Problems.Err.
func (j *Job) Validate(drivers ConfigChecks) error { return j.Problems(drivers).Err() }

// Problems is Validate with each problem by itself; objects are paths such as group.api.task.web.kill_timeout.
func (j *Job) Problems(drivers ConfigChecks) Problems { return nil }

// Validate reports every problem of a canonical role.
func (r *Role) Validate() error { return r.Problems().Err() }

// Problems is Validate with each problem by itself.
func (r *Role) Problems() Problems { return nil }
