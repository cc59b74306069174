package http

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/proffer/proffer/structs"
)

// guard decides who may ask. It is the one place where a request gets its identity.
type guard struct {
	token atomic.Pointer[[sha256.Size]byte] // the demanded token's hash; nil: none is demanded
	names []string                          // host names, beside addresses, that this agent answers to
}

func newGuard(token string, names []string) *guard {
	g := &guard{names: names}
	g.demand(token)
	return g
}

// demand changes the token; an empty one ends the demand.
func (g *guard) demand(token string) {
	if token == "" {
		g.token.Store(nil)
		return
	}
	sum := sha256.Sum256([]byte(token))
	g.token.Store(&sum)
}

// SetToken changes the token that requests must carry from now on. A service that began without one may get one; whoever
// listens on more than loopback must not take it away.
func (s *Service) SetToken(token string) { s.guard.demand(token) }

// identify returns the actor of a request, or why it is refused.
//
// Without a token only this machine may ask, by a name that no foreign DNS entry can point here (DNS rebinding); with
// one, whoever has it. A page of another site is refused in both cases, whatever it sends along.
func (g *guard) identify(r *http.Request) (string, error) {
	if err := g.sameSite(r); err != nil {
		return "", err
	}
	if err := g.knownHost(r); err != nil {
		return "", err
	}
	who := "local"
	if token := g.token.Load(); token != nil {
		if !hasToken(r, token) {
			return "", refuse(http.StatusUnauthorized, structs.Forbidden, "", "a token is needed, and this one is missing or wrong").
				advise("set PROFFER_TOKEN, or send Authorization: Bearer TOKEN")
		}
		who = "token"
	} else if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !addr.Addr().Unmap().IsLoopback() {
		return "", structs.Errorf(structs.Forbidden, "", "without a token only this machine may ask, not %s", addr.Addr()).
			Advise("set token in the agent's configuration")
	}
	if claim := r.Header.Get("X-Proffer-Actor"); claim != "" {
		if len(claim) > 128 || strings.ContainsFunc(claim, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return "", structs.Errorf(structs.Invalid, "header X-Proffer-Actor", "it is not 1 to 128 printable ASCII characters")
		}
		who += "/" + claim
	}
	return who, nil
}

func hasToken(r *http.Request, token *[sha256.Size]byte) bool {
	given := r.Header.Get("X-Proffer-Token")
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimSpace(rest)
	} else if _, password, ok := r.BasicAuth(); ok {
		given = password // a browser's way to give it, for the page at /
	}
	sum := sha256.Sum256([]byte(given)) // equal lengths, so that the comparison takes the same time for all
	return subtle.ConstantTimeCompare(sum[:], token[:]) == 1
}

// sameSite refuses what a browser sends for a page that this agent did not serve.
func (g *guard) sameSite(r *http.Request) error {
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return structs.Errorf(structs.Forbidden, "header Origin", "a page of %q may not use this API", origin)
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
		return nil
	default:
		if r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/v1/") {
			return nil // a link from elsewhere to a page of ours
		}
		return structs.Errorf(structs.Forbidden, "header Sec-Fetch-Site", "a page of another site may not use this API")
	}
}

// knownHost refuses a Host that is neither an address nor one of our names.
func (g *guard) knownHost(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(g.names, host) {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && (g.token.Load() != nil || addr.Unmap().IsLoopback()) {
		return nil
	}
	return structs.Errorf(structs.Forbidden, "header Host", "%q is not a name of this agent", r.Host).
		Advise("use its address, such as 127.0.0.1")
}
