package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/proffer/proffer/structs"
)

// DefaultAddress is where an agent answers when nothing else is said.
const DefaultAddress = "http://127.0.0.1:5050"

// Bounds of the client.
const (
	dialTimeout = 5 * time.Second
	patience    = 15 * time.Second // for trying again, counted from the first try
	firstPause  = 20 * time.Millisecond
	lastPause   = 2 * time.Second
	maxAnswer   = 256 << 20 // bytes of an answer that is read as a whole
	maxLine     = 64 << 20  // bytes of a line of a stream
)

// Config says how to reach an agent.
type Config struct {
	Address   string            // URL or host:port; empty: DefaultAddress
	Token     string            // empty: none is sent
	Actor     string            // who asks, for the record; printable ASCII without spaces
	Transport http.RoundTripper // nil: one of its own
	Retrying  func(error)       // nil, or told of each failure after which a call is tried again, from any goroutine
}

// Client calls the API of one agent. Its methods may be called from any goroutine. They return when their context ends,
// and their errors are *structs.Error.
//
// A call is tried again, for up to 15 seconds, when it failed in a way that trying again may mend and that cannot do
// anything twice: reads, and writes because each carries an idempotency key. Signals and transfers of the leadership have
// none that counts: they are tried again only when they did not happen. A connection that is refused is not tried again.
type Client struct {
	base  *url.URL
	http  *http.Client
	exec  *http.Client // for what must not be sent twice: see New
	token string
	actor string
	retry func(error) // never nil
}

// New returns a client. It connects with the first call.
func New(c Config) (*Client, error) {
	address := c.Address
	if address == "" {
		address = DefaultAddress
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || strings.Trim(base.Path, "/") != "" {
		return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("address %q", c.Address), "it is not a URL such as %s", DefaultAddress)
	}
	base.Path = ""
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, structs.Errorf(structs.Invalid, "token", "it has characters that an HTTP header cannot carry").
			Advise("look for a line break or a space in it")
	}
	transport := c.Transport
	if transport == nil {
		dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16,
			IdleConnTimeout: time.Minute, TLSHandshakeTimeout: dialTimeout, DisableCompression: true}
	}
	// A transport sends a GET again when a connection that it used before breaks, and exec is one: it has new ones.
	fresh := transport
	if t, ok := transport.(*http.Transport); ok {
		own := t.Clone()
		own.DisableKeepAlives = true
		fresh = own
	}
	if c.Retrying == nil {
		c.Retrying = func(error) {}
	}
	return &Client{base: base, token: c.Token, actor: c.Actor, retry: c.Retrying,
		http: &http.Client{Transport: transport, CheckRedirect: noRedirect},
		exec: &http.Client{Transport: fresh, CheckRedirect: noRedirect}}, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Address returns the URL that the client calls.
func (c *Client) Address() string { return c.base.String() }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Query bounds a read. The zero value, and nil, ask for everything there is now.
type Query struct {
	Stale  bool          // the agent's own state will do
	Index  uint64        // answer when the data has changed after this index …
	Wait   time.Duration // … or after this time; 0: 5 minutes
	Prefix string        // lists: only names that begin so
	Filter []string      // lists: field=value, field!=value or field~part
	Limit  int           // lists: items of a page; 0: 1000
	After  string        // lists: what comes after this name
}

func (q *Query) values() url.Values {
	v := url.Values{}
	if q == nil {
		return v
	}
	if q.Stale {
		v.Set("stale", "true")
	}
	if q.Index > 0 {
		v.Set("index", strconv.FormatUint(q.Index, 10))
		if q.Wait > 0 {
			v.Set("wait", structs.Duration(q.Wait).String())
		}
	}
	if q.Prefix != "" {
		v.Set("prefix", q.Prefix)
	}
	for _, f := range q.Filter {
		v.Add("filter", f)
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.After != "" {
		v.Set("after", q.After)
	}
	return v
}

// Meta is what an answer says beside its body.
type Meta struct {
	Index       uint64 // of the state that answered
	Next        string // of a list: After for the next page; empty: this was the last
	KnownLeader bool
	LastContact time.Duration // how long before the server had heard of the leader
}

// Collect returns all items of a list, page by page; the Meta is that of the first.
func Collect[T any](ctx context.Context, q *Query, list func(context.Context, *Query) ([]T, *Meta, error)) ([]T, *Meta, error) {
	var page Query
	if q != nil {
		page = *q
	}
	var all []T
	var first *Meta
	for {
		items, meta, err := list(ctx, &page)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, items...)
		if first == nil {
			first = meta
		}
		if meta.Next == "" {
			return all, first, nil
		}
		page.After, page.Index = meta.Next, 0
	}
}

type keyContext struct{}

// WithKey has the writes of a context carry this idempotency key instead of a random one. Use it for one write.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyContext{}, key)
}

// call is one call on its way.
type call struct {
	method, path string
	query        url.Values
	contentType  string // of body
	body         []byte
	accept       string
	write        bool
	once         bool // it has its effect each time that it arrives, whatever its key
}

// do makes a call and decodes its answer into out, when out is not nil.
func (c *Client) do(ctx context.Context, k call, out any) (*Meta, error) {
	response, err := c.send(ctx, k)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, broken(ctx, k, err)
	}
	if len(raw) > maxAnswer {
		return nil, structs.Errorf(structs.Exhausted, k.path, "the answer is larger than %s", structs.Bytes(maxAnswer))
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			return nil, structs.Errorf(structs.Internal, k.path, "the answer is not what this client expects: %w", err).
				Advise("check that %s is a Proffer agent of a fitting version", c.base)
		}
	}
	return metaOf(response), nil
}

func metaOf(r *http.Response) *Meta {
	index, _ := strconv.ParseUint(r.Header.Get("X-Proffer-Index"), 10, 64)
	contact, _ := time.ParseDuration(r.Header.Get("X-Proffer-Last-Contact"))
	return &Meta{Index: index, Next: r.Header.Get("X-Proffer-Next"), KnownLeader: r.Header.Get("X-Proffer-Known-Leader") == "true", LastContact: contact}
}

// send makes a call, again while that may help, and returns the answer once it is a good one. The caller closes its body.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	key := ""
	if k.write {
		if key, _ = ctx.Value(keyContext{}).(string); key == "" {
			key = structs.NewID()
		}
	}
	begun, pause := time.Now(), firstPause
	var open error // of an earlier try, which may have had its effect
	for {
		response, err := c.once(ctx, k, key)
		if err == nil {
			return response, nil
		}
		switch kind := structs.KindOf(err); {
		case k.write && kind == structs.Unknown:
			open = err
		case kind == structs.Unavailable && open != nil:
			err = open // that nothing happened is true of the last try only
		}
		wait := pause/2 + rand.N(pause)
		if !k.again(err) || ctx.Err() != nil || time.Since(begun)+wait > patience {
			return nil, err
		}
		c.retry(err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
		pause = min(pause*2, lastPause)
	}
}

// again reports whether the same call may succeed and may be repeated: reads change nothing, writes have a key.
func (k *call) again(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	kind := structs.KindOf(err)
	return kind == structs.Unavailable || kind == structs.Unknown && !k.once
}

func (c *Client) once(ctx context.Context, k call, key string) (*http.Response, error) {
	u := *c.base
	u.Path, u.RawPath = unescape(k.path), k.path
	u.RawQuery = k.query.Encode()
	var body io.Reader
	if k.contentType != "" {
		body = bytes.NewReader(k.body)
	}
	r, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, k.path, "%w", err)
	}
	c.identify(r.Header)
	if k.contentType != "" {
		r.Header.Set("Content-Type", k.contentType)
	}
	if k.accept != "" {
		r.Header.Set("Accept", k.accept)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	// The transport tries again by itself, and then only its last try is seen in the error.
	var sent atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreached(ctx, err, sent.Load())
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, errorOf(response)
}

func (c *Client) identify(h http.Header) {
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	if c.actor != "" {
		h.Set("X-Proffer-Actor", c.actor)
	}
}

func unescape(path string) string {
	if p, err := url.PathUnescape(path); err == nil {
		return p
	}
	return path
}

// unreached is the error of a call that got no answer. sent: some of it may have left this machine.
func (c *Client) unreached(ctx context.Context, err error, sent bool) error {
	if ctx.Err() != nil {
		return &structs.Error{Kind: structs.Unknown, Object: c.base.Host, Why: "no answer: " + ctx.Err().Error(), Err: ctx.Err()}
	}
	cause := err
	if u := (*url.Error)(nil); errors.As(err, &u) {
		cause = u.Err
	}
	e := &structs.Error{Kind: structs.Unknown, Object: "agent " + c.base.Host, Why: cause.Error(), Err: cause}
	if c.base.Scheme == "https" && !sent {
		e.Kind = structs.Unavailable // TLS could not be begun
		e.Do = "write http:// when nothing in front of the agent speaks TLS"
	}
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		if !sent {
			e.Kind = structs.Unavailable
		}
		e.Why = "it cannot be reached: " + dial.Err.Error()
		e.Do = "start one with proffer agent -dev, or set PROFFER_ADDR to where one runs"
	}
	return e
}

// broken is the error of an answer that ended too early.
func broken(ctx context.Context, k call, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return &structs.Error{Kind: structs.Unknown, Object: k.path, Why: "the answer broke off: " + err.Error(), Err: err}
}

// errorOf reads the error of a refused call.
func errorOf(r *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	e := &structs.Error{}
	if json.Unmarshal(raw, e) == nil && e.Kind != "" && e.Why != "" {
		return e
	}
	e = &structs.Error{Kind: structs.Internal, Object: r.Request.URL.Host, Why: fmt.Sprintf("it answered %s, and not as a Proffer agent does", r.Status)}
	switch r.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		e.Kind = structs.Unavailable
	case http.StatusGatewayTimeout:
		e.Kind = structs.Unknown
	}
	return e.Advise("check PROFFER_ADDR")
}

// get reads a T.
func get[T any](ctx context.Context, c *Client, q *Query, path string) (T, *Meta, error) {
	return getWith[T](ctx, c, q.values(), path)
}

func getWith[T any](ctx context.Context, c *Client, v url.Values, path string) (T, *Meta, error) {
	var out T
	meta, err := c.do(ctx, call{method: http.MethodGet, path: path, query: v}, &out)
	return out, meta, err
}

// write sends body as JSON, nothing when it is nil, and reads a T.
func write[T any](ctx context.Context, c *Client, method, path string, v url.Values, body any) (*T, error) {
	return send[T](ctx, c, call{method: method, path: path, query: v, write: true}, body)
}

func send[T any](ctx context.Context, c *Client, k call, body any) (*T, error) {
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, structs.Errorf(structs.Invalid, k.path, "%w", err)
		}
		k.contentType, k.body = "application/json", raw
	}
	out := new(T)
	if _, err := c.do(ctx, k, out); err != nil {
		return nil, err
	}
	return out, nil
}
