// Package rpc carries calls and streams between agents: many streams over one cluster connection, msgpack inside. See
// DESIGN.md.
package rpc

import (
	"log/slog"
	"time"
)

// Options are the bounds of a server or pool; zero fields take the default.
type Options struct {
	MaxMessage int           // bytes of one message; 4 MiB
	MaxStreams int           // open at once on one connection; 4,096. A pool waits for a free one, a server refuses
	IdleClose  time.Duration // a pool closes a connection without a stream after this; 5 minutes
	KeepAlive  time.Duration // silence after which a connection is probed, and after twice it is cut off; 10 s
	Logger     *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxMessage == 0 {
		o.MaxMessage = 4 << 20
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 4096
	}
	if o.IdleClose == 0 {
		o.IdleClose = 5 * time.Minute
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
