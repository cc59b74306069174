package agent

import (
	"bufio"
	"context"
	"io"
	nethttp "net/http"
	"testing"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/rpc"
)

// A request that comes through the tunnel before the HTTP API serves waits for it, and ends when the agent stops instead.
func TestEarlyRequestsThroughTheTunnel(t *testing.T) {
	for _, served := range []bool{true, false} {
		a := newAgent(t, t.TempDir())
		a.ctx, a.end = context.WithCancel(context.Background())
		a.ended = make(chan error, 1)
		for _, step := range []func(context.Context) error{a.openFolder, a.openHTTP, a.openCluster, a.startGossip, a.startServer, a.serveCluster} {
			if err := step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		port, err := cluster.Listen(cluster.Config{Bind: "127.0.0.1:0", Region: a.config.Region, Keys: a.keys})
		if err != nil {
			t.Fatal(err)
		}
		pool := rpc.NewPool(port.DialRPC, rpc.Options{})
		stream, err := pool.Stream(t.Context(), a.port.Addr(), tunnelMethod, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(stream, "GET /v1/agent/self HTTP/1.1\r\nHost: proffer\r\n"+actorHeader+": ann\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		// What follows on the connection is answered when the request is there.
		var keys []string
		if err := pool.Call(t.Context(), a.port.Addr(), "Agent.Keyring", &keyringRequest{"list", ""}, &keys); err != nil {
			t.Fatal(err)
		}
		if served {
			if err := a.serveHTTP(t.Context()); err != nil {
				t.Fatal(err)
			}
			answer, err := nethttp.ReadResponse(bufio.NewReader(stream), nil)
			if err != nil || answer.StatusCode != nethttp.StatusOK {
				t.Errorf("answered %v, %v", answer, err)
			}
		}
		a.stop(t.Context())
		if !served {
			if answer, err := nethttp.ReadResponse(bufio.NewReader(stream), nil); err == nil {
				t.Errorf("answered %v by nobody", answer)
			}
		}
		pool.Close()
		port.Close()
	}
}
