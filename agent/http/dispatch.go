package http

import (
	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// maxDispatch bounds the body of a dispatch: a payload in base64, and meta.
const maxDispatch = structs.MaxPayload*2 + 256<<10

// jobDispatch submits what a dispatch makes of a job. Its name comes of the idempotency key, so that a repeated dispatch is the same job.
func jobDispatch(c *call) (any, error) {
	var in api.JobDispatch
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	snap, err := c.snapshot()
	if err != nil {
		return nil, err
	}
	record, err := c.job(snap)
	if err != nil {
		return nil, err
	}
	version := snap.Version(record.Name, record.Version)
	switch {
	case version == nil:
		return nil, structs.Errorf(structs.NotFound, "job "+record.Name, "its text is not there")
	case record.Stopped:
		return nil, structs.Errorf(structs.Conflict, "job "+record.Name, "it is stopped").Advise("submit it again")
	}
	key := c.r.Header.Get("Idempotency-Key")
	if key == "" {
		key = structs.NewID()
	}
	job, err := version.Job.Dispatch(version.Version, record.Name+"\x00"+key, in.Meta, in.Payload)
	if err != nil {
		return nil, err
	}
	if err := job.Validate(nil); err != nil { // with its meta, it may be too large
		return nil, err
	}
	return c.submit(job, nil)
}
