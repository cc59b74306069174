package http

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/structs"
)

// Bounds of the service.
const (
	maxHeader      = 16 << 10
	maxBody        = 1 << 20           // of a request that does not say otherwise
	maxLong        = 4096              // blocking queries and streams at a time
	maxConnections = 16384             //
	slowRead       = 30 * time.Second  // for a request's body, or for its next piece when it is a stream
	slowWrite      = 30 * time.Second  // for an answer, or for its next piece when it is a stream
	linger         = 2 * time.Second   // for the rest of a body that nobody wants
	patience       = 60 * time.Second  // for the work of a call that neither streams nor blocks
	idle           = 120 * time.Second // between requests of a connection
	shutdown       = 5 * time.Second   // for what is under way when the service stops
)

// Options is what a service is made of.
type Options struct {
	Region  Region           // nil on an agent without a server
	Agent   Agent            //
	Forward http.Handler     // without a Region: passes calls of the region on to a server; nil: they are Unavailable
	Docs    http.Handler     // serves /docs/; nil: none
	Mesos   *mesos.Scheduler // serves the scheduler API of Mesos; nil: none
	// Leader returns where a call of the scheduler API goes, which is called then; nil, or a nil result: Mesos serves it.
	Leader  func() http.Handler
	Secrets *Credentials         // of the principals of the APIs of Mesos; nil: none
	Tools   *operator.Servers    // serves the operator API of Mesos, and what its tools poll; nil: none
	Token   string               // that each request must carry; empty: only this machine may ask
	Drivers structs.ConfigChecks // of the drivers that jobs may name
	Names   []string             // host names that the agent answers to, beside addresses and localhost; lower case
	Log     *slog.Logger
}

// Service serves the API.
type Service struct {
	Options
	*front
	routes   []Route
	openAPI  func() []byte
	long     atomic.Int64   // streams and blocking queries under way
	hijacked sync.WaitGroup // handlers of connections that the http server no longer knows
}

// New returns a service. It starts nothing.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{Options: o, front: newFront(o.Token, o.Names, o.Secrets, o.Log), routes: Routes(), openAPI: sync.OnceValue(OpenAPI)}
	s.rest = s.other
	methods := map[string][]string{}
	for i := range s.routes {
		route := &s.routes[i]
		methods[route.Path] = append(methods[route.Path], route.Method)
		s.mux.Handle(route.Method+" "+route.Path, s.serve(route))
	}
	for path, allowed := range methods {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeError(w, requestID(r), refuse(http.StatusMethodNotAllowed, structs.Invalid, r.Method+" "+r.URL.Path,
				"this path takes %s", strings.Join(allowed, ", ")))
		})
	}
	if s.Mesos != nil {
		s.ofMesos(SchedulerRealm, s.mesos, mesosPaths...)
	}
	if s.Tools != nil {
		read := func(w http.ResponseWriter, r *http.Request) { s.Tools.Serve(w, r, s.Caller(r)) }
		s.ofMesos(OpenRealm, read, operator.OpenPaths()...)
		s.ofMesos(ReadOnlyRealm, read, operator.Paths()...)
		s.ofMesos(ReadWriteRealm, func(w http.ResponseWriter, r *http.Request) { s.Tools.Call(w, r, s.Caller(r)) }, operator.CallPaths...)
		s.ofMesos(ReadWriteRealm, func(w http.ResponseWriter, r *http.Request) { s.Tools.Older(w, r, s.Caller(r)) }, s.Tools.OlderPaths()...)
		s.ofMesos(ReadWriteRealm, s.Tools.Toggle, operator.TogglePaths...)
	}
	s.mux.HandleFunc("/", s.other)
	return s
}

// Serve answers on ln until ctx ends, then lets what is under way finish for a few seconds, and returns when nothing of
// it is left. It closes ln.
func (s *Service) Serve(ctx context.Context, ln net.Listener) error {
	err := serve(ctx, ln, s, s.Log)
	s.hijacked.Wait()
	return err
}

// serve answers on ln until ctx ends, then lets what is under way finish for a few seconds. It closes ln.
func serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	long, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: slowRead,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return long },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(newBoundedListener(ln, maxConnections)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop() // streams and blocking queries end now
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeTrusted is ServeHTTP for a request that another agent has checked and passed on: actor is who asked there, and principal who
// proved to, if somebody did.
func (s *Service) ServeTrusted(w http.ResponseWriter, r *http.Request, actor, principal string) {
	s.enter(w, r.WithContext(context.WithValue(r.Context(), passedKey{}, true)), func() (identity, error) {
		if realm := s.realm(r); principal == "" && s.guard.mesos.demanded(realm) != nil {
			return identity{}, &challenge{realm}
		}
		return identity{actor, principal}, nil
	})
}

// Actor returns who asks, of a request that the service has let in; for Options.Forward.
func (s *Service) Actor(r *http.Request) string {
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		return q.actor
	}
	return ""
}

// Refuse answers a request that the service has let in with an error, as its own handlers do; for Options.Forward.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused(w, r)
	writeError(w, requestID(r), err)
}

// other answers what is not in the table.
func (s *Service) other(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		s.home(w, r)
	case s.Docs != nil && (r.URL.Path == "/docs" || strings.HasPrefix(r.URL.Path, "/docs/")):
		s.Docs.ServeHTTP(w, r)
	default:
		refused(w, r)
		writeError(w, requestID(r), structs.Errorf(structs.NotFound, r.URL.Path, "there is no such path").
			Advise("/v1/openapi.json lists all"))
	}
}
