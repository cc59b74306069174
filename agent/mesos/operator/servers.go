package operator

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const patience = 60 * time.Second // for the work of a call

// Region is what this API needs of a server.
type Region interface {
	// LeaderHTTP returns where the leader serves HTTP, as host:port, empty while there is none, and whether it is this server.
	LeaderHTTP(ctx context.Context) (address string, self bool, err error)
	// Elected says since when this server leads; zero: it does not.
	Elected() structs.Time
	Read(ctx context.Context, stale bool) (*state.Snapshot, error)
	Store() *state.Store
	Propose(ctx context.Context, key, actor string, cmd state.Command) (answer any, index uint64, err error)
	Offers(ctx context.Context) ([]*structs.Offer, error)
	// Slacks returns what is reserved on nodes and not used, where anything is.
	Slacks(ctx context.Context) map[structs.NodeID]structs.Slack
	Maintenance(ctx context.Context) ([]*structs.NodeMaintenance, error)
	// Figures returns what the server counted and measured.
	Figures() server.Figures
}

// Servers serves this API on a server.
type Servers struct {
	// Verbose has the log say more for so long; 0: no longer. Nil: it cannot.
	Verbose func(time.Duration)
	// Counts is what came of schedulers. Nil: it is not counted. None of the two is changed once this serves.
	Counts *mesos.Counts

	region  Region
	about   func() About
	log     *slog.Logger
	seed    maphash.Seed
	views   map[string]*view
	figures *shared // of /metrics/snapshot
	older   map[string]olderMethods
	turn    chan struct{} // holds one while a call is answered that is about all of the state

	subscribers subscribers
}

// view is one document that tools poll.
type view struct {
	shared *shared
	write  func(*document)
}

// NewServers returns the API of a server. about is asked at each request.
func NewServers(region Region, about func() About, log *slog.Logger) *Servers {
	s := &Servers{region: region, about: about, log: log, seed: maphash.MakeSeed(), views: map[string]*view{}, figures: newShared(), turn: make(chan struct{}, 1)}
	for name, write := range map[string]func(*document){
		"state":         (*document).state,
		"state-summary": (*document).summary,
		"slaves":        func(d *document) { d.slavesPage("") },
		"frameworks":    func(d *document) { d.frameworksPage("") },
		"roles":         (*document).roles,
	} {
		s.views[name] = &view{newShared(), write}
	}
	s.older = s.olderPaths()
	return s
}

// measured makes the answer to /metrics/snapshot, which each server gives for itself.
func (s *Servers) measured(ctx context.Context, _ *body) (*body, func(), error) {
	leads := s.region.Elected() != 0
	d := &document{picture: newPicture(s.region.Store().Snapshot()), encoder: newEncoder(), self: s.about(), offered: offeredBy(nil), from: s}
	if leads {
		if offers, err := s.region.Offers(ctx); err == nil {
			d.offered = offeredBy(offers)
		}
		d.slacks = s.region.Slacks(ctx)
	}
	d.encoder.figures(d.metrics(leads, now()))
	return d.body(), nil, nil
}

// hits says how many answers of documents were not made anew.
func (s *Servers) hits() (n uint64) {
	for _, v := range s.views {
		n += v.shared.hits.Load()
	}
	return n
}

// Paths are those of documents about the region.
func Paths() []string {
	return spelt("/master/", "state", "state-summary", "slaves", "frameworks", "roles", "tasks", "flags", "metrics/snapshot", "system/stats")
}

// OpenPaths are those that anybody may ask for: whether the server is well, which version it has, and who leads.
func OpenPaths() []string { return spelt("/master/", "health", "version", "redirect") }

// Serve answers a request for one of Paths or OpenPaths.
func (s *Servers) Serve(w http.ResponseWriter, r *http.Request, who mesos.Caller) {
	err := s.serve(w, r)
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler) // who asked must not take what came for the whole
	}
	mesos.Answer(w, r, err)
}

func (s *Servers) serve(w http.ResponseWriter, r *http.Request) error {
	name, padding, err := asksFor(w, r, "/master")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	self := s.about()
	send := func(b *body) error { return padding.send(w, b) }
	switch name { // what each server answers for itself
	case "health":
		w.WriteHeader(http.StatusOK)
		return nil
	case "version", "flags", "system/stats":
		return send(ofSelf(name, self))
	case "metrics/snapshot":
		return s.figures.get(ctx, s.measured, send)
	}
	leader, err := s.leader(ctx, w, r, name)
	if err != nil {
		return err
	}
	if v := s.views[name]; v != nil && r.URL.Query().Get("slave_id")+r.URL.Query().Get("framework_id") == "" {
		return v.shared.get(ctx, func(ctx context.Context, last *body) (*body, func(), error) {
			d, of, err := s.document(ctx, leader)
			switch {
			case err != nil:
				return nil, nil, err
			case last != nil && last.of == of:
				return last, nil, nil
			}
			d.to.of = of
			return d.to, func() { v.write(d); d.body() }, nil
		}, send)
	}
	q, err := tasksQuery(r)
	if err != nil {
		return err
	}
	d, _, err := s.document(ctx, leader)
	if err != nil {
		return err
	}
	switch name {
	case "slaves":
		d.slavesPage(r.URL.Query().Get("slave_id"))
	case "frameworks":
		d.frameworksPage(q.framework)
	case "tasks":
		d.tasksPage(q)
	default:
		s.views[name].write(d)
	}
	return send(d.body())
}

// leader returns where the leader is, which is this server; whoever asks another one is sent there.
func (s *Servers) leader(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) (string, error) {
	leader, self, err := s.region.LeaderHTTP(ctx)
	if err != nil {
		s.log.Debug("the leader does not say where it serves", "err", err)
	}
	switch {
	case leader == "":
		return "", mesos.Refuse(http.StatusServiceUnavailable, "No leader elected")
	case name == "redirect":
		w.Header().Set("Location", "//"+leader)
		return "", mesos.Refuse(http.StatusTemporaryRedirect, "")
	case !self:
		w.Header().Set("Location", "//"+leader+r.URL.RequestURI())
		return "", mesos.Refuse(http.StatusTemporaryRedirect, "")
	}
	return leader, nil
}

// document returns an empty one of the state as it is now, and what it is of.
func (s *Servers) document(ctx context.Context, leader string) (*document, version, error) {
	snap, err := s.region.Read(ctx, false)
	if err != nil {
		return nil, version{}, err
	}
	offers, err := s.region.Offers(ctx)
	if err != nil {
		return nil, version{}, err
	}
	of := version{index: snap.Index()}
	for _, o := range offers {
		of.offers += maphash.String(s.seed, string(o.ID)) // in any order
	}
	slacks := s.region.Slacks(ctx)
	for id, size := range slacks {
		of.slacks += maphash.Comparable(s.seed, slackOf{id, size})
	}
	return &document{picture: newPicture(snap), encoder: newEncoder(), self: s.about(), leader: leader, elected: s.region.Elected(),
		offered: offeredBy(offers), slacks: slacks, from: s}, of, nil
}

// Bounds of what /tasks answers.
const (
	usualTasks = 100
	mostTasks  = 1_000_000
)

func tasksQuery(r *http.Request) (q taskQuery, err error) {
	given := r.URL.Query()
	q = taskQuery{framework: given.Get("framework_id"), task: given.Get("task_id"), limit: usualTasks}
	for name, into := range map[string]*int{"limit": &q.limit, "offset": &q.offset} {
		text := given.Get(name)
		if text == "" {
			continue
		}
		n, bad := strconv.Atoi(text)
		if bad != nil || n < 0 {
			return q, mesos.Refuse(http.StatusBadRequest, "Failed to parse query parameter '%s': '%.50s' is no number", name, text)
		}
		*into = min(n, mostTasks)
	}
	switch order := given.Get("order"); order {
	case "asc":
		q.oldestFirst = true
	case "", "des":
	default:
		return q, mesos.Refuse(http.StatusBadRequest, "Failed to parse query parameter 'order': '%.50s' is neither 'asc' nor 'des'", order)
	}
	return q, nil
}
