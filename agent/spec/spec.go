// Package spec reads what users write: jobs, roles and the agent's configuration, from HCL and from JSON, into the tagged
// structs of package structs; and writes, compares and documents them from the same tags. See structs/doc.go for the tags.
//
// It evaluates input of strangers: it opens no file, looks at no clock and no environment, and bounds size, depth and work.
package spec

import "github.com/proffer/proffer/structs"

// Bounds of what is read.
const (
	MaxHCL  = 1 << 20 // bytes of one HCL text
	MaxJSON = 4 << 20 // bytes of one JSON text
)

// Vars are the values that a caller gives to the variables of a job. Later kinds win over earlier ones: the default in the
// job, Env, Files in order, Flags in order.
type Vars struct {
	Env   []string // "PROFFER_VAR_name=value"; others are ignored, so os.Environ() may be passed
	Files []File   // assignments, name = value; a name that the job does not declare is an error
	Flags []string // "name=value"
}

// File is a named text. The name is for messages only.
type File struct {
	Name string
	Src  []byte
}

// ParseJob reads one job in HCL as it is written: defaults are not set and nothing but its form is checked. The error lists
// all problems, each with file:line.
func ParseJob(name string, src []byte, vars Vars) (*structs.Job, error) {
	job, _, err := parseJob(name, src, vars)
	return job, err
}

// ParseJSON reads one job in JSON, as strictly as ParseJob.
func ParseJSON(name string, src []byte) (*structs.Job, error) {
	job, _, err := parseJSON(name, src)
	return job, err
}

// ReadJob reads a job in HCL or JSON (an object; variables do not apply to it), sets its defaults and validates it. The
// error lists all problems, each with file:line. It is what job run, plan and validate and POST /v1/jobs use.
func ReadJob(name string, src []byte, vars Vars, drivers structs.ConfigChecks) (*structs.Job, error) {
	return readJob(name, src, vars, drivers)
}

// ParseRole reads one role, as HCL (role "eng/web" { … }) or as a JSON object.
func ParseRole(name string, src []byte) (*structs.Role, error) { return nil, nil }

// ParseRoles reads any number of roles from one HCL text.
func ParseRoles(name string, src []byte) ([]*structs.Role, error) { return nil, nil }

// FormatHCL writes a job as HCL that ParseJob reads back as the same job.
func FormatHCL(job *structs.Job) []byte { return nil }

// FormatRole writes a role as HCL.
func FormatRole(role *structs.Role) []byte { return nil }

func parseJob(name string, src []byte, vars Vars) (*structs.Job, any, error) { return nil, nil, nil }
func parseJSON(name string, src []byte) (*structs.Job, any, error)           { return nil, nil, nil }
func readJob(name string, src []byte, vars Vars, drivers structs.ConfigChecks) (*structs.Job, error) {
	return nil, nil
}
