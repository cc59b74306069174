package rpc

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/structs"
)

// TestWhatErrorsPromise: while connections break at any moment, a call that succeeded ran once, one that is Unavailable did
// not run, and none ran twice.
func TestWhatErrorsPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ran := map[int]int{}
		r := newRegion(t, Options{KeepAlive: time.Second})
		Handle(r.server, "Do", func(ctx context.Context, req *ping) (*ping, error) {
			mu.Lock()
			ran[req.N]++
			mu.Unlock()
			select {
			case <-time.After(rand.N(20 * time.Millisecond)):
			case <-ctx.Done():
			}
			return &ping{N: req.N, Raw: make([]byte, rand.IntN(50_000))}, nil
		})
		r.serve(t)
		const workers, calls = 10, 30
		outcome := make([]structs.Kind, workers*calls)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range calls {
					n := w*calls + i
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond+rand.N(5*time.Second))
					var out ping
					err := r.pool.Call(ctx, r.addr, "Do", &ping{N: n, Raw: make([]byte, rand.IntN(100_000))}, &out)
					cancel()
					outcome[n] = structs.KindOf(err)
					if err == nil && out.N != n {
						t.Errorf("call %d got the answer of %d", n, out.N)
					}
					time.Sleep(rand.N(30 * time.Millisecond))
				}
			})
		}
		stop := make(chan struct{})
		var trouble sync.WaitGroup
		trouble.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(100 * time.Millisecond)):
				}
				switch i % 3 {
				case 0: // the pool's process loses its sockets
					r.mesh.Crash("10.0.0.2")
				case 1:
					r.mesh.CutOneWay([]string{"10.0.0.1"}, []string{"10.0.0.2"})
					time.Sleep(rand.N(3 * time.Second))
					r.mesh.Heal()
				case 2:
					r.mesh.Cut([]string{"10.0.0.1"}, []string{"10.0.0.2"})
					time.Sleep(rand.N(3 * time.Second))
					r.mesh.Heal()
				}
			}
		})
		wg.Wait()
		close(stop)
		trouble.Wait()
		r.mesh.Heal()
		r.pool.Close()
		r.server.Close()
		count := map[structs.Kind]int{}
		for n, kind := range outcome {
			count[kind]++
			switch times := ran[n]; {
			case times > 1:
				t.Errorf("call %d ran %d times", n, times)
			case kind == "" && times != 1:
				t.Errorf("call %d succeeded without running", n)
			case kind == structs.Unavailable && times != 0:
				t.Errorf("call %d ran, and was said not to", n)
			case kind != "" && kind != structs.Unavailable && kind != structs.Unknown:
				t.Errorf("call %d: %s", n, kind)
			}
		}
		t.Logf("%v", count)
	})
}

// TestManyStreams: raw bytes of many streams at once arrive whole and in order, while others are given up half-way.
func TestManyStreams(t *testing.T) {
	methods := func(s *Server) {
		s.HandleStream("Raw", func(_ context.Context, st *Stream) error {
			_, err := io.Copy(st, st)
			return err
		})
	}
	bubble(t, Options{}, methods, func(t *testing.T, r *region) {
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				st, err := r.pool.Stream(ctx, r.addr, "Raw", nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer st.Close()
				sent := make([]byte, random.IntN(3*window))
				for j := range sent {
					sent[j] = byte(random.Uint32())
				}
				var writing sync.WaitGroup
				writing.Go(func() {
					for rest := sent; len(rest) > 0; {
						n, err := st.Write(rest[:min(len(rest), 1+random.IntN(100_000))])
						if err != nil {
							return
						}
						rest = rest[n:]
					}
					st.CloseWrite()
				})
				switch i % 3 {
				case 0:
					cancel()
				case 1:
					io.CopyN(io.Discard, st, int64(len(sent)/2))
					st.Close()
				case 2:
					if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, sent) {
						t.Errorf("stream %d: %d of %d bytes, %v", i, len(got), len(sent), err)
					}
				}
				writing.Wait()
			})
		}
		wg.Wait()
		synctest.Wait()
		r.pool.mu.Lock()
		defer r.pool.mu.Unlock()
		for _, p := range r.pool.peers {
			p.c.mu.Lock()
			if n := len(p.c.streams); n != 0 || len(p.slots) != 0 {
				t.Errorf("%d streams and %d slots are kept", n, len(p.slots))
			}
			p.c.mu.Unlock()
		}
	})
}
