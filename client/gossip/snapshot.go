package gossip

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/proffer/proffer/client/replace"
)

const (
	maxPeers     = 128             // in a snapshot, servers first
	saveDebounce = 2 * time.Second // between writes
)

// snapshot is the file: addresses to try at the next start. Losing it costs nothing but a configured address to join.
type snapshot struct {
	Peers []string `json:"peers"`
}

func readSnapshot(path string, log *slog.Logger) []string {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	var s snapshot
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the remembered gossip peers cannot be read: starting without", "path", path, "err", err)
		return nil
	}
	return s.Peers[:min(len(s.Peers), maxPeers)]
}

// saveLocked asks for a write.
func (p *Pool) saveLocked() {
	select {
	case p.saving <- struct{}{}:
	default:
	}
}

// save writes the snapshot some time after changes. What failed stays in it: it may be the whole rest of the pool, which
// we were cut off from. What left does too, since it may come back; what was removed does not.
func (p *Pool) save() {
	if p.config.Snapshot == "" {
		return
	}
	var last string
	keep := func() {
		next := string(p.snapshot())
		if next == last {
			return
		}
		if err := replace.Bytes(p.config.Snapshot, []byte(next)); err != nil {
			p.log.Warn("cannot remember the gossip peers", "path", p.config.Snapshot, "err", err)
		}
		last = next
	}
	defer keep()
	for {
		select {
		case <-p.saving:
			keep()
		case <-p.ctx.Done():
			return
		}
		select {
		case <-time.After(saveDebounce):
		case <-p.ctx.Done():
			return
		}
	}
}

// snapshot lists the members that may be tried at the next start, then those of the last one that were not seen since.
func (p *Pool) snapshot() []byte {
	p.mu.Lock()
	var servers, clients []string
	seen := map[string]bool{}
	for name, r := range p.members {
		seen[r.addr.String()] = true
		switch {
		case name == p.local.Name || r.status == Removed:
		case r.role() == RoleServer:
			servers = append(servers, r.addr.String())
		default:
			clients = append(clients, r.addr.String())
		}
	}
	p.mu.Unlock()
	rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	all := append(servers, clients...)
	for _, old := range p.peers {
		if !seen[old] {
			all = append(all, old)
		}
	}
	raw, _ := json.Marshal(snapshot{Peers: all[:min(len(all), maxPeers)]})
	return append(raw, '\n')
}
