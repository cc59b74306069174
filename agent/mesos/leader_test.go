package mesos_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
)

// A framework that subscribes in the moment in which the leader changes is told where the next one serves, by whomever it asked.
func TestSubscribingWhileTheLeaderChanges(t *testing.T) {
	others := func(r *region, h *host) (ips []string) {
		for _, o := range r.servers {
			if o != h {
				ips = append(ips, o.ip)
			}
		}
		return ips
	}
	for name, c := range map[string]struct {
		asked func(r *region) *host
		ends  func(r *region)
		after time.Duration // the region is whole again
	}{
		"a leader that is cut off in the middle of it": {(*region).leader, func(r *region) { r.mesh.Cut([]string{r.leader().ip}, others(r, r.leader())) }, 4 * time.Second},
		"a standby of a leader that died":              {(*region).follower, func(r *region) { r.leader().crash() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, 0, func(r *region) {
				f, asked, old := r.framework(home, wire.JSON), c.asked(r), r.leader()
				r.eventually("the asked one knows who leads", func() bool {
					_, _, err := asked.server.LeaderHTTP(context.Background())
					return err == nil
				})
				c.ends(r)
				type told struct {
					status         int
					location, text string
				}
				answer := make(chan told, 1)
				go func() {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					res, err := f.post(ctx, asked, f.subscribeCall(), "")
					if err != nil {
						t.Error(err)
						answer <- told{}
						return
					}
					got := told{status: res.StatusCode, location: res.Header.Get("Location")}
					if got.status != http.StatusOK {
						text, _ := io.ReadAll(res.Body)
						got.text = string(text)
					}
					res.Body.Close()
					answer <- got
				}()
				r.pass(c.after)
				r.mesh.Heal()
				got := <-answer
				switch leader := r.leader(); {
				case leader == old:
					t.Fatal("the leader is the same")
				case leader == asked && got.status != http.StatusOK:
					t.Errorf("the leader answers %+v", got)
				case leader != asked && got != told{http.StatusTemporaryRedirect, "//" + leader.ip + ":5050/api/v1/scheduler", ""}:
					t.Errorf("it is told %+v", got)
				}
			})
		})
	}
}

// A server that is elected and does not lead yet sends nobody to itself: clients that follow where they are sent would go round in circles.
func TestNobodyIsSentBackToTheServerThatWasAsked(t *testing.T) {
	bubble(t, 3, 0, func(r *region) {
		ctx, cancel := context.WithCancel(context.Background())
		var watching sync.WaitGroup
		for _, h := range r.servers {
			if h == r.leader() {
				continue
			}
			watching.Go(func() {
				for ctx.Err() == nil {
					_, changed := h.server.Raft().LeaderChanged()
					if at, self, err := h.server.LeaderHTTP(ctx); err == nil && at == h.ip+":5050" && !self {
						t.Errorf("%s says that it does not lead, and sends to %s", h.ip, at)
					}
					select {
					case <-changed:
					case <-ctx.Done():
					}
				}
			})
		}
		old := r.leader()
		old.crash()
		r.eventually("another one leads", func() bool { return r.leader() != old })
		cancel()
		watching.Wait()
	})
}
