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
	mesos *Credentials                      // that count instead of the token in the realms that demand them; nil: none
}

// identity is who sent a request.
type identity struct {
	actor     string
	principal string // that the user of HTTP Basic proved to be; empty: nobody had to
}

// challenge is the error of a request that does not prove who sent it, in a realm that demands that.
type challenge struct{ realm Realm }

func (c *challenge) Error() string {
	return "a principal and its secret are needed (HTTP Basic), and they are missing or wrong"
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

// identify returns who sent a request, or why it is refused. realm is that of the API that it is for, empty for ours.
//
// Without a token only this machine may ask, by a name that no foreign DNS entry can point here (DNS rebinding); with
// one, whoever has it. In a realm that demands a principal its secret counts instead of the token. A page of another site is
// refused in all cases, whatever it sends along.
func (g *guard) identify(r *http.Request, realm Realm) (who identity, err error) {
	if err := g.sameSite(r); err != nil {
		return who, err
	}
	if realm == ExecutorRealm {
		return identity{actor: "executor"}, nil
	}
	if err := g.knownHost(r); err != nil {
		return who, err
	}
	demanded, token := g.mesos.demanded(realm), g.token.Load()
	switch {
	case realm == OpenRealm:
		who.actor = "anybody"
	case demanded != nil:
		if who, err = demanded.identify(r, realm); err != nil {
			return who, err
		}
	case token != nil:
		if !hasToken(r, token) {
			return who, refuse(http.StatusUnauthorized, structs.Forbidden, "", "a token is needed, and this one is missing or wrong").
				advise("set PROFFER_TOKEN, or send Authorization: Bearer TOKEN")
		}
		who.actor = "token"
		who.principal, _, _ = r.BasicAuth() // the password was the token
	default:
		who.actor = "local"
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); token == nil && err == nil && !addr.Addr().Unmap().IsLoopback() {
		return identity{}, structs.Errorf(structs.Forbidden, "", "without a token only this machine may ask, not %s", addr.Addr()).
			Advise("set token in the agent's configuration")
	}
	if claim := r.Header.Get("X-Proffer-Actor"); claim != "" {
		if len(claim) > 128 || strings.ContainsFunc(claim, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return identity{}, structs.Errorf(structs.Invalid, "header X-Proffer-Actor", "it is not 1 to 128 printable ASCII characters")
		}
		who.actor += "/" + claim
	}
	return who, nil
}

// identify returns who proves to be a principal.
func (c *credentials) identify(r *http.Request, realm Realm) (identity, error) {
	principal := c.principal(r)
	if principal == "" {
		return identity{}, &challenge{realm}
	}
	return identity{actor: "principal/" + principal, principal: principal}, nil
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
