package http

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	pathpkg "path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/structs"
)

// front is what every request passes before it is served, on the port of the HTTP API and on that of a node: it gets its id and its
// identity there, and is answered even when a handler panics.
type front struct {
	guard  *guard
	mux    *http.ServeMux
	realms map[string]Realm // of the patterns that belong to the APIs of Mesos
	rest   http.HandlerFunc // answers what has no handler
	log    *slog.Logger
}

func newFront(token string, names []string, secrets *Credentials, log *slog.Logger) *front {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &front{guard: newGuard(token, names), mux: http.NewServeMux(), realms: map[string]Realm{}, log: log}
	f.guard.mesos = secrets
	return f
}

// ofMesos registers what serves an API of Mesos. Their calls are not in the table: their forms, and what they answer, are those of
// Mesos. Who asks is known when h is called, and is checked as the realm demands: see Caller.
func (f *front) ofMesos(realm Realm, h http.HandlerFunc, paths ...string) {
	for _, path := range paths {
		f.realms[path] = realm
		f.mux.HandleFunc(path, h)
	}
}

// realm returns the realm of the API of Mesos that a request is for; empty for our own.
func (f *front) realm(r *http.Request) Realm {
	_, pattern := f.mux.Handler(r)
	return f.realms[pattern]
}

// Caller returns who sent a request that was let in.
func (f *front) Caller(r *http.Request) mesos.Caller {
	who := mesos.Caller{}
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		who.Actor, who.Principal, who.Passed = q.actor, q.principal, q.passed
	}
	return who
}

// SetToken changes the token that requests must carry from now on. What began without one may get one; whoever listens on more than
// loopback must not take it away.
func (f *front) SetToken(token string) { f.guard.demand(token) }

type requestKey struct{}

// request is what the middleware knows of a request.
type request struct {
	identity
	id     string
	passed bool // by another agent
}

// passedKey is where the context says that another agent passed a request on.
type passedKey struct{}

func requestID(r *http.Request) string {
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		return q.id
	}
	return ""
}

// ServeHTTP is the middleware.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.enter(w, r, func() (identity, error) { return f.guard.identify(r, f.realm(r)) })
}

func (f *front) enter(w http.ResponseWriter, r *http.Request, identify func() (identity, error)) {
	q := &request{id: structs.NewID()[:16], passed: r.Context().Value(passedKey{}) != nil}
	w.Header().Set("X-Request-Id", q.id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	tracked := &tracker{ResponseWriter: w, rc: http.NewResponseController(w)}
	if r.ContentLength != 0 {
		// Before it answers what did not read the body, and after it answered what gave up reading, the HTTP server reads on by itself: whoever
		// sends nothing more would keep the connection for ever. What reads the body to its end takes the deadline away.
		tracked.rc.SetReadDeadline(time.Now().Add(slowRead))
	}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if fault == http.ErrAbortHandler {
			panic(fault)
		}
		f.log.Error("request failed", "request", q.id, "method", r.Method, "path", r.URL.Path, "fault", fault,
			"stack", string(debug.Stack()))
		if tracked.wrote {
			panic(http.ErrAbortHandler) // the client must not take what it has for the whole
		}
		refused(w, r)
		writeError(tracked, q.id, structs.Errorf(structs.Internal, r.Method+" "+r.URL.Path, "the agent made a mistake").
			Advise("report it with what the agent's log says of request %s", q.id))
	}()
	who, err := identify()
	if no := (*challenge)(nil); errors.As(err, &no) {
		refused(w, r)
		w.Header().Set("WWW-Authenticate", "Basic realm="+strconv.Quote(string(no.realm)))
		http.Error(tracked, no.Error(), http.StatusUnauthorized)
		return
	}
	if err != nil {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			w.Header().Set("WWW-Authenticate", `Basic realm="Proffer: any user, the token as password"`)
		}
		refused(w, r)
		writeError(tracked, q.id, err)
		return
	}
	q.identity = who
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
	if path := r.URL.Path; path != "/" && strings.TrimSuffix(pathpkg.Clean(path), "/") != strings.TrimSuffix(path, "/") {
		f.rest(tracked, r) // the mux would redirect to what it takes for the same
		return
	}
	f.mux.ServeHTTP(tracked, r)
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
