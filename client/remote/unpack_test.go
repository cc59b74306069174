package remote

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/rpc"
	"github.com/proffer/proffer/structs"
)

// late is a stream whose end is known only after everybody has said what they have to say.
type late struct{ io.Reader }

func (l *late) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	if err == io.EOF {
		synctest.Wait()
	}
	return n, err
}

// What a node says is what the caller hears, however much of the stream it wanted to see, and whenever it says it.
func TestUnpackHearsTheAnswer(t *testing.T) {
	for name, takes := range map[string]func(io.Reader){
		"nothing": func(io.Reader) {}, "a little": func(r io.Reader) { io.CopyN(io.Discard, r, 100) },
		"all but the end": func(r io.Reader) { io.CopyN(io.Discard, r, 1000) }, "all": func(r io.Reader) { io.Copy(io.Discard, r) },
	} {
		for _, size := range []int{1000, 1 << 20} { // within what a stream has under way, and beyond
			for _, refuse := range []error{nil, structs.Errorf(structs.Forbidden, "main/local", "no")} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						mesh := cluster.NewMesh()
						l, err := mesh.Host("10.0.0.1").Listen("10.0.0.1:5052")
						if err != nil {
							t.Fatal(err)
						}
						s, pool := rpc.NewServer(rpc.Options{}), rpc.NewPool(mesh.Host("10.0.0.2").Dial, rpc.Options{})
						s.HandleStream(unpackMethod, func(_ context.Context, st *rpc.Stream) error {
							var req fileRequest
							if err := st.Request(&req); err != nil {
								return err
							}
							takes(&receiver{stream: st})
							if refuse != nil {
								return refuse
							}
							return st.Send(&client.Copied{Files: 7})
						})
						done := make(chan error, 1)
						go func() { done <- s.Serve(l) }()
						defer func() {
							pool.Close()
							s.Close()
							<-done
						}()
						n := &Node{Pool: pool, Address: "10.0.0.1:5052", Name: "n1"}
						got, err := n.Unpack(t.Context(), "a", "main/local", &late{strings.NewReader(strings.Repeat("x", size))})
						switch {
						case refuse == nil && (err != nil || got.Files != 7):
							t.Errorf("%d bytes: %+v, %v", size, got, err)
						case refuse != nil && structs.KindOf(err) != structs.Forbidden:
							t.Errorf("%d bytes, refused: %v", size, err)
						}
					})
				})
			}
		}
	}
}
