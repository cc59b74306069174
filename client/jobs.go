package client

import (
	"sync"

	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

type jobKey struct {
	name    string
	version uint64
}

func keyOf(j *structs.JobVersion) jobKey { return jobKey{j.Job.Name, j.Version} }

// jobs has the job versions that allocations refer to, and the newest that a session sent: servers send one only once.
type jobs struct {
	mu     sync.Mutex
	used   map[jobKey]*use
	now    map[jobKey]*structs.JobVersion // of the last message: however many they are, its allocations find them
	sent   map[jobKey]*structs.JobVersion
	recent []jobKey // of sent, oldest first
}

type use struct {
	job  *structs.JobVersion
	refs int
}

// maxSent is how many job versions of a session are remembered beside those in use. A server must send one again after so
// many others.
const maxSent = 1024

func newJobs() *jobs {
	return &jobs{used: make(map[jobKey]*use), sent: make(map[jobKey]*structs.JobVersion)}
}

// session forgets what the last session sent.
func (j *jobs) session() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.sent)
	j.now, j.recent = nil, nil
}

// add remembers what a message of a session has.
func (j *jobs) add(all []*structs.JobVersion) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now = make(map[jobKey]*structs.JobVersion, len(all))
	for _, v := range all {
		if v == nil || v.Job == nil {
			continue
		}
		key := keyOf(v)
		j.now[key] = v
		if j.sent[key] == nil {
			j.recent = append(j.recent, key)
		}
		j.sent[key] = v
		if len(j.recent) > maxSent {
			delete(j.sent, j.recent[0])
			j.recent = j.recent[1:]
		}
	}
}

// find returns a version; nil when it was not sent.
func (j *jobs) find(key jobKey) *structs.JobVersion {
	j.mu.Lock()
	defer j.mu.Unlock()
	if u := j.used[key]; u != nil {
		return u.job
	}
	if v := j.now[key]; v != nil {
		return v
	}
	return j.sent[key]
}

// refer counts one more allocation; first tells that none did before.
func (j *jobs) refer(v *structs.JobVersion) (first bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	u := j.used[keyOf(v)]
	if u == nil {
		u = &use{job: v}
		j.used[keyOf(v)] = u
	}
	u.refs++
	return u.refs == 1
}

// release counts one less; last tells that none is left.
func (j *jobs) release(key jobKey) (last bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	u := j.used[key]
	if u == nil {
		return false
	}
	if u.refs--; u.refs == 0 {
		delete(j.used, key)
		return true
	}
	return false
}

// drop removes the versions from the store that nothing refers to.
func (j *jobs) drop(s *store.Store) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, v := range s.Jobs() {
		if j.used[keyOf(&v)] == nil {
			s.Enqueue(store.DeleteJob(v.Job.Name, v.Version))
		}
	}
}
