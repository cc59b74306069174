package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// Bounds of one transfer: tries in a row that may bring nothing, and how often an answer may lead elsewhere.
const (
	patience     = 6
	maxRedirects = 10
)

// web is http and https.
type web struct {
	base  http.RoundTripper
	stall time.Duration
}

func newWeb(stall time.Duration) *web {
	return &web{stall: stall, base: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: stall, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, // checksums and ranges are of the bytes as they are
	}}
}

func (*web) fixed(*Want) bool { return false }

func (s *web) fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error) {
	return s.get(ctx, j, p, j.url, func(r *http.Request) error {
		for name, value := range j.Headers {
			r.Header.Set(name, value)
		}
		return nil
	})
}

// get transfers what is at an address. dress completes each request to its host.
func (s *web) get(ctx context.Context, j *job, p *part, at *url.URL, dress func(*http.Request) error) (unchanged bool, err error) {
	for failed := 0; ; {
		before := p.have
		unchanged, err = s.once(ctx, j, p, at, dress)
		if err == nil || ctx.Err() != nil {
			return unchanged, errors.Join(err, ctx.Err())
		}
		if p.have > before {
			failed = 0
		}
		if failed++; structs.KindOf(err) != structs.Unavailable || failed >= patience {
			return false, err
		}
		select {
		case <-time.After(min(s.stall/300<<failed, s.stall)):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// client follows redirects: never to another scheme than http and https, never back to http, and without the job's headers, and those
// of the node's own credentials, to another host.
func (s *web) client(j *job) *http.Client {
	return &http.Client{Transport: s.base, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		from := via[len(via)-1].URL
		switch {
		case len(via) > maxRedirects:
			return structs.Errorf(structs.Invalid, j.object, "it leads elsewhere more than %d times", maxRedirects)
		case r.URL.Scheme != "https" && r.URL.Scheme != "http":
			return structs.Errorf(structs.Forbidden, j.object, "it leads to %s://, which is not followed", r.URL.Scheme)
		case from.Scheme == "https" && r.URL.Scheme == "http":
			return structs.Errorf(structs.Forbidden, j.object, "it leads from https to http, which is not followed")
		}
		r.Header.Del("Referer") // it may have a signature in it
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			for name := range j.Headers {
				r.Header.Del(name)
			}
			r.Header.Del("Authorization")
			r.Header.Del(s3Token)
		}
		return nil
	}}
}

// once asks once. Errors that another try may mend are Unavailable.
func (s *web) once(ctx context.Context, j *job, p *part, at *url.URL, dress func(*http.Request) error) (unchanged bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := structs.Errorf(structs.Unavailable, j.object, "nothing came for %v", s.stall)
	timer := time.AfterFunc(2*s.stall, func() { cancel(stalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && context.Cause(ctx) == error(stalled) {
			err = stalled
		}
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return false, structs.Errorf(structs.Invalid, j.object, "it is no address")
	}
	r.Header.Set("User-Agent", "proffer")
	begin := p.have
	validator := p.entry.ETag
	if validator == "" || strings.HasPrefix(validator, "W/") { // a weak one says nothing of bytes
		validator = p.entry.Modified
	}
	switch {
	case begin > 0 && validator != "":
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", begin))
		r.Header.Set("If-Range", validator)
	case j.known != nil:
		set(r, "If-None-Match", j.known.ETag)
		set(r, "If-Modified-Since", j.known.Modified)
	}
	if err := dress(r); err != nil {
		return false, err
	}
	resp, err := s.client(j).Do(r)
	if err != nil {
		return false, s.unreachable(ctx, j, err)
	}
	defer resp.Body.Close()
	whole := resp.ContentLength
	switch resp.StatusCode {
	case http.StatusNotModified:
		if j.known == nil || begin > 0 {
			return false, structs.Errorf(structs.Unavailable, j.object, "the server says that nothing changed, though it was not asked that")
		}
		return true, nil
	case http.StatusPartialContent:
		first, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if begin == 0 || !ok || first != begin {
			if err := p.restart(entry{}); err != nil {
				return false, err
			}
			return false, structs.Errorf(structs.Unavailable, j.object, "the server sent another part than was asked for")
		}
		whole = total
	case http.StatusOK:
		if whole > p.limit {
			return false, structs.Errorf(structs.Invalid, j.object, "it has %s, more than %s", structs.Bytes(whole).Human(), structs.Bytes(p.limit).Human()).
				Advise("client.artifact.max_size of the node bounds it")
		}
		if err := p.restart(entry{ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified")}); err != nil {
			return false, err
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if err := p.restart(entry{}); err != nil {
			return false, err
		}
		return false, refused(j, resp, structs.Unavailable)
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, refused(j, resp, structs.Forbidden)
	case http.StatusNotFound, http.StatusGone:
		return false, refused(j, resp, structs.NotFound)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false, refused(j, resp, structs.Unavailable)
	default:
		if resp.StatusCode >= 500 {
			return false, refused(j, resp, structs.Unavailable)
		}
		return false, refused(j, resp, structs.Invalid)
	}
	timer.Reset(s.stall)
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			timer.Reset(s.stall)
			if _, err := p.Write(buf[:n]); err != nil {
				return false, err
			}
			p.progress.at(p.have, max(whole, 0))
		}
		if err == io.EOF && whole >= 0 && p.have != whole {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, structs.Errorf(structs.Unavailable, j.object, "the transfer broke after %s: %w", structs.Bytes(p.have).Human(), plain(err))
		}
	}
}

func set(r *http.Request, name, value string) {
	if value != "" {
		r.Header.Set(name, value)
	}
}

// contentRange reads "bytes 5-9/10"; total is -1 where it is not known.
func contentRange(s string) (first, total int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	from, _, ok3 := strings.Cut(span, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil {
		return 0, 0, false
	}
	if total, err = strconv.ParseInt(size, 10, 64); err != nil {
		return first, -1, size == "*"
	}
	return first, total, true
}

// refused is the error of an answer that is none.
func refused(j *job, resp *http.Response, kind structs.Kind) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	why := ""
	if t := resp.Header.Get("Content-Type"); len(text) > 0 && (strings.HasPrefix(t, "text/plain") || strings.Contains(t, "xml") || strings.Contains(t, "json")) {
		why = ": " + hint(string(text))
	}
	return structs.Errorf(kind, j.object, "the server answers %s%s", resp.Status, why)
}

// unreachable is the error of a request without an answer.
func (s *web) unreachable(ctx context.Context, j *job, err error) error {
	var known *structs.Error
	if errors.As(err, &known) { // of a redirect
		return known
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var redirect *url.Error
	if errors.As(err, &redirect) && strings.Contains(err.Error(), "unsupported protocol scheme") {
		return structs.Errorf(structs.Forbidden, j.object, "it leads to something else than http and https, which is not followed")
	}
	return structs.Errorf(structs.Unavailable, j.object, "it cannot be reached: %w", plain(err))
}

// plain takes the address off an error: it may have a password or signature in it.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
