package placement

import "github.com/proffer/proffer/structs"

// Work is where the allocations of all jobs are: what the rules of an ask about other work look at.
type Work struct {
	jobs map[string]*Peers
	by   map[string]*Peers         // by the text of a mark: with a tag; by awayKey: of those that keep a mark away
	away map[string]map[string]int // by the mark that is kept away, by attribute: how many allocations do
	news []string                  // see TakeNews
	only map[string]bool           // jobs that are counted by job; nil: all
}

// NewWork returns where nothing is.
func NewWork() *Work {
	return &Work{jobs: map[string]*Peers{}, by: map[string]*Peers{}, away: map[string]map[string]int{}}
}

// awayKey is the key of those that keep a mark away from the nodes with their value of an attribute.
func awayKey(attribute, mark string) string { return "away " + attribute + " " + mark }

// Job returns where the allocations of a job are. It stays the same until Trim.
func (w *Work) Job(name string) *Peers { return w.at(w.jobs, name) }

// Look returns where the allocations of a job are, without keeping that somebody asked.
func (w *Work) Look(job string) *Peers {
	if p := w.jobs[job]; p != nil {
		return p
	}
	return &Peers{work: w}
}

func (w *Work) at(in map[string]*Peers, key string) *Peers {
	p := in[key]
	if p == nil {
		p = &Peers{work: w}
		in[key] = p
	}
	return p
}

// Len returns how many keys w knows: jobs, tags and what is kept away.
func (w *Work) Len() int { return len(w.jobs) + len(w.by) + len(w.away) }

// Trim forgets a job of which nothing is anywhere.
func (w *Work) Trim(job string) {
	if w.jobs[job].Empty() {
		delete(w.jobs, job)
	}
}

// Add counts by more (or, negative, fewer) allocations on a node.
func (w *Work) Add(n *Node, job, group string, marks *structs.Marks, by int) {
	if w.only == nil || w.only[job] {
		w.Job(job).Add(n, group, by)
	}
	if marks == nil {
		return
	}
	for _, tag := range marks.Tags {
		w.count("tag="+tag, n, job, by)
	}
	for _, a := range marks.Away {
		w.count(awayKey(a.Attribute, a.Of), n, job, by)
		places := w.away[a.Of]
		if places == nil {
			places = map[string]int{}
			w.away[a.Of] = places
		}
		if by > 0 && places[a.Attribute] == 0 {
			w.news = append(w.news, a.Of)
		}
		if places[a.Attribute] += by; places[a.Attribute] == 0 {
			w.news = append(w.news, a.Of)
			if delete(places, a.Attribute); len(places) == 0 {
				delete(w.away, a.Of)
			}
		}
	}
}

// count counts under a key by job, so that an explanation can name it.
func (w *Work) count(key string, n *Node, job string, by int) {
	p := w.at(w.by, key)
	if p.Add(n, job, by); p.Empty() {
		delete(w.by, key)
	}
}

// jobsOf returns a job and those that its rules name.
func jobsOf(job *structs.Job) map[string]bool {
	jobs := map[string]bool{job.Name: true}
	look := func(constraints []*structs.Constraint, affinities []*structs.Affinity) {
		for _, c := range constraints {
			if m, err := structs.ParseMark(c.Value); err == nil {
				jobs[m.Job] = true
			}
		}
		for _, f := range affinities {
			if m, err := structs.ParseMark(f.Value); err == nil {
				jobs[m.Job] = true
			}
		}
	}
	look(job.Constraints, job.Affinities)
	for _, g := range job.Groups {
		look(g.Constraints, g.Affinities)
	}
	return jobs
}

// TakeNews returns the marks that somebody began to keep away in a way that nobody did before, or that nobody keeps away in
// some way any more: what Among returns for asks with such a mark is another ask now.
func (w *Work) TakeNews() []string {
	news := w.news
	w.news = nil
	return news
}
