package api

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// lookEvery is how often a websocket is looked at while what came over it is not taken.
const lookEvery = 10 * time.Second

// Pass writes what came over a websocket to w. As long as w does not take it nobody reads from the websocket, which is what would notice
// that its other end is gone. So it is pinged then, and when it cannot be, gone is called, which has to end the write.
func Pass(ctx context.Context, ws *websocket.Conn, w io.Writer, piece []byte, gone func(error)) error {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Add(1)
	timer := time.AfterFunc(lookEvery, func() {
		defer looking.Done()
		look(ctx, ws, gone)
	})
	_, err := w.Write(piece)
	cancel()
	if timer.Stop() {
		looking.Done()
	}
	looking.Wait()
	return err
}

// look pings until ctx ends or that fails. No answer is no failure: whoever would read it waits as well. Of an end that is gone, the
// first ping makes its system answer so, and a later one fails.
func look(ctx context.Context, ws *websocket.Conn, gone func(error)) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, lookEvery)
		err := ws.Ping(asking)
		over := asking.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil && !over && !errors.Is(err, context.DeadlineExceeded) {
			gone(err)
			return
		}
		if !over { // it answered, or another one writes
			select {
			case <-time.After(lookEvery):
			case <-ctx.Done():
			}
		}
	}
}
