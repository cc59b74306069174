package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/proffer/proffer/structs"
)

const ndjson = "application/x-ndjson"

// quiet is how long an event stream may be silent; the agent says something every ten seconds.
const quiet = time.Minute

// Logs calls emit with the output of a task, until all was sent, or with Follow until the task has ended for good. The
// alloc may be the beginning of an id. A frame is emit's until it returns.
func (c *Client) Logs(ctx context.Context, req *LogsRequest, emit func(*LogFrame) error) error {
	v := url.Values{}
	switch {
	case req.Stdout && !req.Stderr:
		v.Set("stream", "stdout")
	case req.Stderr && !req.Stdout:
		v.Set("stream", "stderr")
	}
	if req.Follow {
		v.Set("follow", "true")
	}
	if req.Offset > 0 {
		v.Set("offset", strconv.FormatInt(req.Offset, 10))
	}
	if req.Tail > 0 {
		v.Set("tail", strconv.FormatInt(req.Tail, 10))
	}
	k := call{method: http.MethodGet, path: allocPath(string(req.Alloc), "logs", req.Task), query: v, accept: ndjson}
	response, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return lines(ctx, k, response.Body, func(line []byte) error {
		var f LogFrame
		if err := json.Unmarshal(line, &f); err != nil {
			return structs.Errorf(structs.Internal, k.path, "a frame is not what this client expects: %w", err)
		}
		if f.Err != nil {
			return f.Err
		}
		return emit(&f)
	})
}

// lines calls emit with each line until the stream ends.
func lines(ctx context.Context, k call, r io.Reader, emit func([]byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	scanner.Split(wholeLine)
	for scanner.Scan() {
		if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 {
			if err := emit(line); err != nil {
				return err
			}
		}
	}
	if err := scanner.Err(); err != nil {
		return broken(ctx, k, err)
	}
	return nil
}

// wholeLine is bufio.ScanLines without the last line that has no end: a broken connection cut it.
func wholeLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// EventQuery says what of the region's changes to follow.
type EventQuery struct {
	Topics []string // none: all
	Job    string   // only what belongs to this job
	Node   string   // only what belongs to this node
	Index  *uint64  // begin behind this index; nil: now
}

// Events calls emit with what each index changed, in order, until ctx ends or emit returns an error, which is returned. The
// first call says where the stream begins. A connection that breaks is made again, and nothing is lost or repeated.
//
// A Conflict says that the events behind Index are not kept any more: read the lists again.
func (c *Client) Events(ctx context.Context, q EventQuery, emit func(*Events) error) error {
	pause := firstPause
	for {
		progress, err := c.events(ctx, &q, emit)
		if progress {
			pause = firstPause
		}
		var lost *lostStream
		if ctx.Err() != nil || !errors.As(err, &lost) || pause > lastPause {
			if lost != nil {
				return lost.err
			}
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return lost.err
		}
		pause *= 2
	}
}

// lostStream is a connection that broke, in contrast to an error of emit.
type lostStream struct{ err error }

func (l *lostStream) Error() string { return l.err.Error() }

func (c *Client) events(ctx context.Context, q *EventQuery, emit func(*Events) error) (progress bool, err error) {
	v := url.Values{"topic": q.Topics}
	if q.Job != "" {
		v.Set("job", q.Job)
	}
	if q.Node != "" {
		v.Set("node", q.Node)
	}
	again := q.Index != nil
	if again {
		v.Set("index", strconv.FormatUint(*q.Index, 10))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(quiet, func() { cancel(errors.New("the stream fell silent")) })
	defer watchdog.Stop()
	k := call{method: http.MethodGet, path: "/v1/events", query: v, accept: ndjson}
	response, err := c.send(ctx, k)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	var refused error
	err = lines(ctx, k, response.Body, func(line []byte) error {
		watchdog.Reset(quiet)
		var e Events
		if refused = json.Unmarshal(line, &e); refused != nil {
			return refused
		}
		if e.Err != nil {
			refused = e.Err
			return refused
		}
		if refused = emit(&e); refused == nil {
			progress, q.Index = true, &e.Index
		}
		return refused
	})
	if refused != nil {
		return progress, refused
	}
	if err == nil {
		err = broken(ctx, k, io.ErrUnexpectedEOF)
	}
	return progress, &lostStream{err}
}

// Monitor follows the log of the agent: level is debug, info, warn or error. The caller closes it.
func (c *Client) Monitor(ctx context.Context, level string, asJSON bool) (io.ReadCloser, error) {
	v := url.Values{}
	if level != "" {
		v.Set("level", level)
	}
	if asJSON {
		v.Set("json", "true")
	}
	return c.open(ctx, "/v1/agent/monitor", v)
}

// Metrics returns all metrics of the agent as Prometheus text. The caller closes it.
func (c *Client) Metrics(ctx context.Context) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/agent/metrics", nil)
}

// OpenAPI returns the description of the API. The caller closes it.
func (c *Client) OpenAPI(ctx context.Context) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/openapi.json", nil)
}

// ReadFile returns limit bytes from offset of a file of an allocation; all when limit is negative. The caller closes it.
func (c *Client) ReadFile(ctx context.Context, id, path string, offset, limit int64) (io.ReadCloser, error) {
	v := url.Values{"path": {path}}
	if offset > 0 {
		v.Set("offset", strconv.FormatInt(offset, 10))
	}
	if limit >= 0 {
		v.Set("limit", strconv.FormatInt(limit, 10))
	}
	return c.open(ctx, allocPath(id, "fs", "cat"), v)
}

// PackFiles returns a file or folder of an allocation as a tar stream, in which it is called name (empty: as it is). The stream is
// whole only when reading it ended without an error. The caller closes it.
func (c *Client) PackFiles(ctx context.Context, id, path, name string) (io.ReadCloser, error) {
	return c.open(ctx, allocPath(id, "fs", "tar"), url.Values{"path": {path}, "name": {name}})
}

// UnpackFiles takes a tar stream apart into a folder of a running allocation. After an error a part of it may be there.
func (c *Client) UnpackFiles(ctx context.Context, id, path string, stream io.Reader) (*Copied, error) {
	out := &Copied{}
	return out, c.upload(ctx, http.MethodPut, allocPath(id, "fs", "tar")+"?"+url.Values{"path": {path}}.Encode(), stream, out)
}

// SaveSnapshot returns a snapshot of the region. It is whole only when reading it ended without an error. The caller
// closes it.
func (c *Client) SaveSnapshot(ctx context.Context) (io.ReadCloser, error) {
	return c.open(ctx, "/v1/operator/snapshot", nil)
}

func (c *Client) open(ctx context.Context, path string, v url.Values) (io.ReadCloser, error) {
	response, err := c.send(ctx, call{method: http.MethodGet, path: path, query: v})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// RestoreSnapshot replaces the state of the region with that of a snapshot.
func (c *Client) RestoreSnapshot(ctx context.Context, snapshot io.Reader) (*SnapshotInfo, error) {
	out := &SnapshotInfo{}
	return out, c.upload(ctx, http.MethodPut, "/v1/operator/snapshot", snapshot, out)
}

// InspectSnapshot says what is in a snapshot.
func (c *Client) InspectSnapshot(ctx context.Context, snapshot io.Reader) (*SnapshotInfo, error) {
	out := &SnapshotInfo{}
	return out, c.upload(ctx, http.MethodPost, "/v1/operator/snapshot/inspect", snapshot, out)
}

// upload sends a stream, once (it cannot be read again), and reads the answer into out.
func (c *Client) upload(ctx context.Context, method, path string, body io.Reader, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return structs.Errorf(structs.Invalid, path, "%w", err)
	}
	c.identify(r.Header)
	r.Header.Set("Content-Type", "application/octet-stream")
	response, err := c.http.Do(r)
	if err != nil {
		return c.unreached(ctx, err, false)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return errorOf(response)
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return broken(ctx, call{path: path}, err)
	}
	return nil
}
