package http

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	pathpkg "path"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/agent/mesos"
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
	Region  Region               // nil on an agent without a server
	Agent   Agent                //
	Forward http.Handler         // without a Region: passes calls of the region on to a server; nil: they are Unavailable
	Docs    http.Handler         // serves /docs/; nil: none
	Mesos   *mesos.Scheduler     // serves the scheduler API of Mesos; nil: none
	Token   string               // that each request must carry; empty: only this machine may ask
	Drivers structs.ConfigChecks // of the drivers that jobs may name
	Names   []string             // host names that the agent answers to, beside addresses and localhost; lower case
	Log     *slog.Logger
}

// Service serves the API.
type Service struct {
	Options
	guard    *guard
	mux      *http.ServeMux
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
	s := &Service{Options: o, guard: newGuard(o.Token, o.Names), mux: http.NewServeMux(), routes: Routes(),
		openAPI: sync.OnceValue(OpenAPI)}
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
		for _, path := range mesosPaths {
			s.mux.HandleFunc(path, s.mesos)
		}
	}
	s.mux.HandleFunc("/", s.other)
	return s
}

// Serve answers on ln until ctx ends, then lets what is under way finish for a few seconds, and returns when nothing of
// it is left. It closes ln.
func (s *Service) Serve(ctx context.Context, ln net.Listener) error {
	long, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: slowRead,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return long },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
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
	s.hijacked.Wait()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type requestKey struct{}

// request is what the middleware knows of a request.
type request struct {
	id, actor string
}

func requestID(r *http.Request) string {
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		return q.id
	}
	return ""
}

// ServeHTTP is the middleware: every request passes it, gets its id and its identity here, and is answered even when a
// handler panics.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.enter(w, r, func() (string, error) { return s.guard.identify(r) })
}

// ServeTrusted is ServeHTTP for a request that another agent has checked and passed on: actor is who asked there.
func (s *Service) ServeTrusted(w http.ResponseWriter, r *http.Request, actor string) {
	s.enter(w, r, func() (string, error) { return actor, nil })
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

func (s *Service) enter(w http.ResponseWriter, r *http.Request, identify func() (string, error)) {
	q := &request{id: structs.NewID()[:16]}
	w.Header().Set("X-Request-Id", q.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	tracked := &tracker{ResponseWriter: w, rc: http.NewResponseController(w)}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if fault == http.ErrAbortHandler {
			panic(fault)
		}
		s.Log.Error("request failed", "request", q.id, "method", r.Method, "path", r.URL.Path, "fault", fault,
			"stack", string(debug.Stack()))
		if tracked.wrote {
			panic(http.ErrAbortHandler) // the client must not take what it has for the whole
		}
		refused(w, r)
		writeError(tracked, q.id, structs.Errorf(structs.Internal, r.Method+" "+r.URL.Path, "the agent made a mistake").
			Advise("report it with what the agent's log says of request %s", q.id))
	}()
	actor, err := identify()
	if err != nil {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			w.Header().Set("WWW-Authenticate", `Basic realm="Proffer: any user, the token as password"`)
		}
		refused(w, r)
		writeError(tracked, q.id, err)
		return
	}
	q.actor = actor
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
	if path := r.URL.Path; path != "/" && strings.TrimSuffix(pathpkg.Clean(path), "/") != strings.TrimSuffix(path, "/") {
		s.other(tracked, r) // the mux would redirect to what it takes for the same
		return
	}
	s.mux.ServeHTTP(tracked, r)
}

// refused is called before a request is answered whose body was not read to its end: the connection is closed after the
// answer. The HTTP server reads up to 256 KiB of the rest before that, so that the client sees the answer; it gets linger
// for it.
func refused(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger))
	}
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

// tracker knows whether an answer was begun, and gives the client slowWrite to take each piece of it.
type tracker struct {
	http.ResponseWriter
	rc    *http.ResponseController
	wrote bool
}

func (t *tracker) WriteHeader(status int) { t.wrote = true; t.ResponseWriter.WriteHeader(status) }

func (t *tracker) Write(p []byte) (int, error) {
	t.wrote = true
	t.rc.SetWriteDeadline(time.Now().Add(slowWrite))
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// patientBody gives a client slowRead for each piece of a body that is passed on.
type patientBody struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (p *patientBody) Read(to []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(slowRead))
	n, err := p.ReadCloser.Read(to)
	if err == io.EOF {
		p.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
