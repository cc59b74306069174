package http

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync/atomic"
)

// Realm is a part of the APIs of Mesos as their clients know it: what a refusal names, and what may demand a principal.
type Realm string

// Realms. The others than the scheduler's are the operator's.
const (
	SchedulerRealm Realm = "mesos-master-scheduler"
	ReadWriteRealm Realm = "mesos-master-readwrite"
	ReadOnlyRealm  Realm = "mesos-master-readonly"
	OpenRealm      Realm = "open" // where nobody has to prove anything: balancers and clients ask there before they log in

	AgentReadWriteRealm Realm = "mesos-agent-readwrite"
	AgentReadOnlyRealm  Realm = "mesos-agent-readonly"
	// ExecutorRealm is for whoever reaches the port, but for pages of a browser: executors in use prove nothing, or what they prove is
	// looked at by the API itself.
	ExecutorRealm Realm = "mesos-agent-executor"
)

// Credentials are the principals that may use the APIs of Mesos with their secrets, and the realms that demand one. The zero
// value demands none. They may be changed while services use them.
type Credentials struct{ now atomic.Pointer[credentials] }

type credentials struct {
	demand map[Realm]bool
	sums   map[string][sha256.Size]byte // of the secrets, by principal
}

// Set replaces them.
func (c *Credentials) Set(secrets map[string]string, demand ...Realm) {
	next := &credentials{demand: map[Realm]bool{}, sums: make(map[string][sha256.Size]byte, len(secrets))}
	for _, realm := range demand {
		next.demand[realm] = true
	}
	for principal, secret := range secrets {
		next.sums[principal] = sha256.Sum256([]byte(secret))
	}
	c.now.Store(next)
}

// demanded returns what counts in a realm now, nil when it demands nothing.
func (c *Credentials) demanded(realm Realm) *credentials {
	if c == nil || realm == "" {
		return nil
	}
	now := c.now.Load()
	if now == nil || !now.demand[realm] {
		return nil
	}
	return now
}

// principal returns who proves to ask by HTTP Basic, or nothing. It takes the same time whether the principal or the secret is wrong.
func (c *credentials) principal(r *http.Request) string {
	principal, secret, _ := r.BasicAuth()
	want, known := c.sums[principal]
	sum := sha256.Sum256([]byte(secret)) // equal lengths, so that the comparison takes the same time for all
	if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 && known {
		return principal
	}
	return ""
}
