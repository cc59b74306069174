package structs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Parameterized makes of a batch job one that does not run by itself: each dispatch of it is a job of its own, with the meta and the payload
// that the dispatch brings.
type Parameterized struct {
	Payload      string   `json:"payload,omitempty" doc:"Whether a dispatch brings a payload: required, optional or forbidden. Default optional."`
	MetaRequired []string `json:"meta_required,omitempty" doc:"Names of meta that each dispatch brings."`
	MetaOptional []string `json:"meta_optional,omitempty" doc:"Names of meta that a dispatch may bring. Others are refused."`
}

// DispatchPayload is where a task has the payload of its dispatch.
type DispatchPayload struct {
	File string `json:"file,omitempty" doc:"Path below the local folder of the task, such as input.json. Without a payload there is no file."`
}

// Dispatched is what a dispatch added to the job that it made.
type Dispatched struct {
	Parent  string `json:"parent"`
	Version uint64 `json:"version"` // of the parent
	Payload []byte `json:"payload,omitempty"`
}

// DispatchedPrefix is what the names of all jobs begin with that are dispatched of one.
func DispatchedPrefix(job string) string { return job + dispatchedNameMark }

// Bounds of dispatches.
const (
	MaxPayload         = 64 << 10
	maxDispatchedName  = 100 // of the job; what it makes has a longer one
	maxParameters      = 100
	dispatchedNameMark = ".d-"
)

// What a parameterized job says of payloads.
const (
	PayloadRequired  = "required"
	PayloadOptional  = "optional"
	PayloadForbidden = "forbidden"
)

// Dispatch returns the job that a dispatch of version of j makes: key tells two dispatches apart, and the same key gives the same job. It is
// Invalid when it does not bring what j wants.
func (j *Job) Dispatch(version uint64, key string, meta map[string]string, payload []byte) (*Job, error) {
	object := fmt.Sprintf("job %q", j.Name)
	par := j.Parameterized
	if par == nil {
		return nil, Errorf(Conflict, object, "it is not parameterized, and runs by itself").Advise("add a parameterized block, or submit it with job run")
	}
	var p Problems
	switch {
	case len(payload) > MaxPayload:
		p.Add("payload", "%s are more than %s", Bytes(len(payload)).Human(), Bytes(MaxPayload)).Advise("store it elsewhere and name the place in meta, for an artifact")
	case par.Payload == PayloadRequired && len(payload) == 0:
		p.Add("payload", "the job needs one")
	case par.Payload == PayloadForbidden && len(payload) > 0:
		p.Add("payload", "the job takes none")
	}
	for _, name := range par.MetaRequired {
		if _, ok := meta[name]; !ok {
			p.Add("meta."+name, "the job needs it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		if !slices.Contains(par.MetaRequired, name) && !slices.Contains(par.MetaOptional, name) {
			known := append(slices.Clone(par.MetaRequired), par.MetaOptional...)
			p.Add("meta."+name, "the job does not know it").didYouMean(name, known, "it takes "+strings.Join(known, ", "))
		}
	}
	checkMeta(&p, "meta", meta)
	if err := p.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(key))
	child := j.Clone()
	child.Name, child.Parameterized = DispatchedPrefix(j.Name)+hex.EncodeToString(sum[:8]), nil
	child.Dispatched = &Dispatched{Parent: j.Name, Version: version, Payload: payload}
	if len(meta) > 0 && child.Meta == nil {
		child.Meta = map[string]string{}
	}
	maps.Copy(child.Meta, meta)
	return child, nil
}

func (j *Job) dispatchProblems(p *Problems) {
	par := j.Parameterized
	if par != nil {
		if j.Type != BatchJob {
			p.Add("parameterized", "only a batch job can be dispatched").Advise(`write type = "batch"`)
		}
		if len(j.Name) > maxDispatchedName {
			p.Add("name", "it is longer than %d: what is dispatched has a longer one", maxDispatchedName)
		}
		checkOneOf(p, "parameterized.payload", par.Payload, PayloadRequired, PayloadOptional, PayloadForbidden)
		seen := map[string]bool{}
		for _, list := range []struct {
			at    string
			names []string
		}{{"parameterized.meta_required", par.MetaRequired}, {"parameterized.meta_optional", par.MetaOptional}} {
			if len(list.names) > maxParameters {
				p.Add(list.at, "%d names are more than %d", len(list.names), maxParameters)
			}
			for i, name := range list.names {
				if !metaName.MatchString(name) {
					p.Add(index(list.at, i), "%q is not a name of meta", name)
				} else if seen[name] {
					p.Add(index(list.at, i), "%q is named twice", name)
				}
				seen[name] = true
			}
		}
	}
	for _, g := range j.Groups {
		if g == nil {
			continue
		}
		for _, t := range g.Tasks {
			if t == nil || t.DispatchPayload == nil {
				continue
			}
			at := "group." + g.Name + ".task." + t.Name + ".dispatch_payload"
			file := t.DispatchPayload.File
			clean := path.Clean(file)
			switch {
			case file == "":
				p.Add(at+".file", "where the payload goes is missing").Advise(`such as file = "input.json"`)
			case strings.HasPrefix(file, "/") || strings.ContainsAny(file, "\\\x00") || slices.Contains(strings.Split(file, "/"), "..") || len(file) > 1024 || clean == "." || strings.HasSuffix(file, "/"):
				p.Add(at+".file", "%q is not a file below the local folder", file)
			case par == nil && j.Dispatched == nil:
				p.Add(at, "only a parameterized job has payloads")
			case par != nil && par.Payload == PayloadForbidden:
				p.Add(at, `the job says payload = "forbidden"`)
			}
		}
	}
}
