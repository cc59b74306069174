package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// call is one request on its way through its handler.
type call struct {
	s     *Service
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	route *Route
	id    string // of the request
	actor string
	query url.Values
	whole bool // the body was read to its end
}

// serve makes the handler of a route: it checks all that the table says of a request, runs the handler, and writes what it
// returns.
func (s *Service) serve(route *Route) http.Handler {
	known := map[string]Param{}
	for _, p := range route.params() {
		known[p.Name] = p
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.Context().Value(requestKey{}).(*request)
		c := &call{s: s, w: w, r: r, rc: http.NewResponseController(w), route: route, id: q.id, actor: q.actor}
		if s.Region == nil && route.Flags&Local == 0 {
			if s.Forward != nil {
				if r.ContentLength != 0 {
					r.Body = &patientBody{r.Body, c.rc}
				}
				s.Forward.ServeHTTP(w, r)
				return
			}
			refused(w, r)
			writeError(w, q.id, structs.Errorf(structs.Unavailable, r.URL.Path, "this agent runs no server").
				Advise("ask an agent that does"))
			return
		}
		result, err := c.run(known)
		if err == nil && result != nil {
			err = c.answer(result)
		}
		if err == nil {
			return
		}
		if t, ok := w.(*tracker); ok && t.wrote {
			s.Log.Debug("answer broken off", "request", q.id, "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler) // the client must not take what it has for the whole
		}
		if !c.whole {
			refused(w, r)
		}
		c.deadline()
		level := s.Log.Debug
		if structs.KindOf(err) == structs.Internal {
			level = s.Log.Error
		}
		level("request refused", "request", q.id, "method", r.Method, "path", r.URL.Path, "error", err)
		writeError(w, q.id, err)
	})
}

func (c *call) run(known map[string]Param) (any, error) {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "query", "it is not well formed: %w", err)
	}
	for name, values := range query {
		if err := c.route.checkParam(known, name, values); err != nil {
			return nil, err
		}
	}
	c.query = query
	if c.route.Flags&Stream != 0 || query.Has("index") {
		if n := c.s.long.Add(1); n > maxLong {
			c.s.long.Add(-1)
			return nil, structs.Errorf(structs.Exhausted, "", "%d streams and blocking queries are open, which is the bound", maxLong).
				Advise("close some, or ask another agent")
		}
		defer c.s.long.Add(-1)
	}
	if c.route.Flags&Stream == 0 && !query.Has("index") {
		ctx, cancel := context.WithTimeout(c.r.Context(), patience)
		defer cancel()
		c.r = c.r.WithContext(ctx)
	}
	return c.route.Handle(c)
}

// checkParam refuses a query parameter that the route does not have, or whose value is not of its type.
func (route *Route) checkParam(known map[string]Param, name string, values []string) error {
	object := "query parameter " + strconv.Quote(name)
	p, ok := known[name]
	if !ok {
		e := structs.Errorf(structs.Invalid, object, "%s %s does not take it", route.Method, route.Path)
		if near := structs.Nearest(name, slices.Sorted(maps.Keys(known))); near != "" {
			e.Advise("did you mean %q?", near)
		}
		return e
	}
	if len(values) > 1 && !p.Repeat {
		return structs.Errorf(structs.Invalid, object, "it is given %d times", len(values))
	}
	if len(values) > 1000 {
		return structs.Errorf(structs.Invalid, object, "it is given more than 1000 times")
	}
	for _, v := range values {
		var err error
		switch p.Type {
		case "integer":
			_, err = strconv.ParseUint(v, 10, 63)
		case "boolean":
			if v != "" { // ?stale is ?stale=true
				_, err = strconv.ParseBool(v)
			}
		case "duration":
			_, err = structs.ParseDuration(v)
		}
		if err != nil {
			return structs.Errorf(structs.Invalid, object, "%q is not %s", v, articles[p.Type])
		}
	}
	return nil
}

var articles = map[string]string{"integer": "a whole number from 0 on", "boolean": "true or false", "duration": "a duration such as 30s"}

func (c *call) str(name string) string { return c.query.Get(name) }

func (c *call) number(name string) uint64 {
	n, _ := strconv.ParseUint(c.query.Get(name), 10, 63)
	return n
}

func (c *call) yes(name string) bool {
	if !c.query.Has(name) {
		return false
	}
	v := c.query.Get(name)
	b, _ := strconv.ParseBool(v)
	return b || v == ""
}

// name returns the path's element key as the name of a thing (job, task), checked.
func (c *call) name(key string) (string, error) {
	v := c.r.PathValue(key)
	if !structs.ValidName(v) {
		return "", structs.Errorf(structs.Invalid, key+" "+strconv.Quote(v), "it is not a valid name").
			Advise("use up to 128 letters, digits, '-', '_' and '.'")
	}
	return v, nil
}

// mediaType returns the body's content type without parameters.
func (c *call) mediaType() string {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// bytes reads the body, after its type and size were checked.
func (c *call) bytes() ([]byte, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(body)
	return raw, c.bodyError(err)
}

// body returns a reader of the body that ends with an error at its bound, and that a slow client cannot hold for ever.
func (c *call) body() (io.Reader, error) {
	if kind := c.mediaType(); !slices.Contains(c.route.takes(), kind) {
		return nil, refuse(http.StatusUnsupportedMediaType, structs.Invalid, "header Content-Type", "%q is not what this call takes",
			c.r.Header.Get("Content-Type")).advise("send %s", strings.Join(c.route.takes(), " or "))
	}
	bound := c.route.MaxBody
	if bound == 0 {
		bound = maxBody
	}
	if c.r.ContentLength > bound {
		return nil, tooLarge(bound)
	}
	return &patientReader{c: c, r: http.MaxBytesReader(c.w, c.r.Body, bound), whole: bound <= maxWhole}, nil
}

// maxWhole is the size up to which a body must arrive as a whole within slowRead; a larger one only has to go on.
const maxWhole = 8 << 20

func tooLarge(bound int64) error {
	return refuse(http.StatusRequestEntityTooLarge, structs.Exhausted, "body", "it is larger than %s", structs.Bytes(bound))
}

type patientReader struct {
	c     *call
	r     io.Reader
	whole bool
	begun bool
}

func (p *patientReader) Read(to []byte) (int, error) {
	if !p.begun || !p.whole {
		p.c.rc.SetReadDeadline(time.Now().Add(slowRead))
		p.begun = true
	}
	n, err := p.r.Read(to)
	if err == io.EOF {
		p.c.whole = true
		p.c.rc.SetReadDeadline(time.Time{})
	}
	return n, p.c.bodyError(err)
}

// bodyError gives errors of reading a body their kind. EOF stays.
func (c *call) bodyError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if big := (*http.MaxBytesError)(nil); errors.As(err, &big) {
		return tooLarge(big.Limit)
	}
	if structs.KindOf(err) != structs.Internal {
		return err
	}
	return refuse(http.StatusBadRequest, structs.Invalid, "body", "it could not be read: %v", err)
}

// decode reads a JSON body into v, strictly: unknown fields and anything after the value are errors.
func (c *call) decode(v any) error {
	raw, err := c.bytes()
	if err != nil {
		return err
	}
	return decodeStrict(raw, v)
}

func decodeStrict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is something after the value")
		}
	}
	if err == nil {
		return nil
	}
	object := "body"
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		object = position(raw, syntax.Offset)
	} else if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		object = position(raw, kind.Offset)
		err = fmt.Errorf("%s cannot be a %s", strings.TrimPrefix(kind.Field, "."), kind.Value)
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	return structs.Errorf(structs.Invalid, object, "not the JSON that is expected here: %s",
		strings.TrimPrefix(err.Error(), "json: "))
}

// position gives line and column of an offset, from 1.
func position(raw []byte, offset int64) string {
	before := raw[:min(max(offset-1, 0), int64(len(raw)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("body, line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}

// deadline gives the client slowWrite to take what is written next.
func (c *call) deadline() { c.rc.SetWriteDeadline(time.Now().Add(slowWrite)) }

// answer writes v as JSON.
func (c *call) answer(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(raw)+1))
	c.deadline()
	_, err = c.w.Write(append(raw, '\n'))
	return err
}

// stream begins an answer of pieces and returns a writer that flushes each write and gives the client slowWrite for it.
func (c *call) stream(contentType string) *streamWriter {
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(http.StatusOK)
	s := &streamWriter{c}
	s.flush()
	return s
}

type streamWriter struct{ c *call }

func (s *streamWriter) Write(p []byte) (int, error) {
	s.c.deadline()
	n, err := s.c.w.Write(p)
	if err == nil {
		err = s.flush()
	}
	return n, err
}

func (s *streamWriter) flush() error {
	s.c.deadline()
	return s.c.rc.Flush()
}
