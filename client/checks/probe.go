package checks

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/proffer/proffer/client/grpc"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Target is the task that a check asks.
type Target struct {
	Address string // host:port of the check's port; empty for exec
	// Exec runs a command in the task; it is drivers.Task.Exec.
	Exec func(context.Context, drivers.Command) (drivers.Exit, error)
	// Dial connects to Address where that is not in the network of the node; nil: it is.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// http returns the client that asks the task.
func (to Target) http(http2 bool) *http.Client {
	switch {
	case to.Dial != nil: // the same address is another task's elsewhere: no two share a client
		return client(http2, to.Dial)
	case http2:
		return multiplexed
	}
	return plain
}

// said is how many bytes of what a task answered are shown.
const said = 200

// ask makes a check once. It returns when ctx ends, at the latest.
func ask(ctx context.Context, c *structs.Check, to Target) Answer {
	var err error
	var code *int
	switch c.Type {
	case "tcp":
		code, err = askTCP(ctx, to)
	case "http", "https":
		code, err = askHTTP(ctx, c, to)
	case "grpc", "grpcs":
		err = askGRPC(ctx, c, to)
	case "exec":
		code, err = askExec(ctx, c, to)
	default:
		err = fmt.Errorf("this node does not know the type %q", c.Type)
	}
	switch {
	case err == nil:
		return Answer{OK: true, Code: code}
	case ctx.Err() != nil:
		return Answer{Why: fmt.Sprintf("no answer within %s", c.Timeout)}
	}
	return Answer{Why: short(err), Code: code}
}

// short leaves out what the reader knows: what was asked, and how.
func short(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Sprintf("nothing listens on %s", dial.Addr)
		}
		err = dial
	}
	return clean([]byte(err.Error()))
}

// clean makes one short line of what came from a task.
func clean(raw []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(raw), "?")), " ")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 127 {
			return -1
		}
		return r
	}, text)
	if len(text) > said {
		text = strings.ToValidUTF8(text[:said], "") + "…"
	}
	return text
}

func askTCP(ctx context.Context, to Target) (*int, error) {
	dial := to.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", to.Address)
	if err != nil {
		return new(0), err
	}
	return new(1), conn.Close()
}

// plain and multiplexed ask once and keep nothing: no proxy, no redirect, no connection for later, no name of the server that has
// to be right: the address is the task's own.
var (
	plain       = client(false, nil)
	multiplexed = client(true, nil)
)

func client(http2 bool, dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	t := &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetHTTP2(http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func askHTTP(ctx context.Context, c *structs.Check, to Target) (*int, error) {
	at, err := url.Parse(c.Type + "://" + to.Address + c.Path)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Method: c.Method, URL: at, Header: http.Header{"User-Agent": {"proffer-check"}}}
	for name, value := range c.Headers {
		if strings.EqualFold(name, "Host") {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	answer, err := to.http(false).Do(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	code := answer.StatusCode
	if slices.Contains(c.Statuses, code) || len(c.Statuses) == 0 && code >= 200 && code < 400 {
		return &code, nil
	}
	raw, _ := io.ReadAll(io.LimitReader(answer.Body, said))
	return &code, fmt.Errorf("status %d: %s", code, raw)
}

// askGRPC asks the health service: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. The request is one message
// with the name of the service as field 1, the answer one with a number as field 1, of which 1 is SERVING.
func askGRPC(ctx context.Context, c *structs.Check, to Target) error {
	scheme := "http"
	if c.Type == "grpcs" {
		scheme = "https"
	}
	var message []byte
	if c.Service != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(c.Service))), c.Service...)
	}
	body, err := grpc.Call(ctx, to.http(true), scheme+"://"+to.Address, "/grpc.health.v1.Health/Check", message, 4<<10)
	switch grpc.Code(err) {
	case grpc.Unimplemented:
		return errors.New("the server has no gRPC health service")
	case grpc.NotFound:
		return fmt.Errorf("the health service does not know %q", c.Service)
	}
	if err != nil {
		return err
	}
	serving, names := 0, []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if len(body) == 2 && body[0] == 1<<3 {
		serving = int(body[1])
	}
	if serving == 1 {
		return nil
	}
	return fmt.Errorf("the health service says %s", names[min(serving, 3)])
}

// head keeps the first bytes that are written to it.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), said-len(h.kept))]...)
	return len(p), nil
}

func askExec(ctx context.Context, c *structs.Check, to Target) (*int, error) {
	var out, errs head // a driver may write both at the same time
	exit, err := to.Exec(ctx, drivers.Command{Args: c.Command, Arg0: c.Arg0, Stdout: &out, Stderr: &errs})
	if err != nil {
		return nil, err
	}
	if exit.Code == 0 && exit.Signal == 0 {
		return new(0), nil
	}
	text := fmt.Sprintf("exit code %d", exit.Code)
	if all := append(errs.kept, out.kept...); len(all) > 0 {
		text += ": " + string(all)
	}
	return &exit.Code, errors.New(text)
}
