//go:build linux

package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/compressed"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// unpack makes a layer of a compressed or plain archive, whose uncompressed bytes must have the digest that is the layer's name.
func (s *Store) unpack(ctx context.Context, layer string, from io.Reader) error {
	if err := s.step("make a folder for a layer"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.path("tmp"), "layer-")
	if err != nil {
		return err
	}
	err = s.fill(ctx, dir, layer, from)
	if err == nil {
		err = s.rename(dir, s.path("layers", layer))
	}
	if err != nil {
		s.removeAll(dir, true)
	}
	return err
}

// fill unpacks into dir and sees to it that all of it is on the disk.
func (s *Store) fill(ctx context.Context, dir, layer string, from io.Reader) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	plain, err := compressed.Open(from)
	if err != nil {
		return structs.Errorf(structs.Invalid, "layer sha256:"+layer, "%w", err)
	}
	ahead := readAhead(plain)
	defer ahead.Close()
	in := &measured{ctx: ctx, from: ahead, sum: sha256.New(), left: int64(s.opts.MaxImage)}
	size, err := s.apply(in, dir+"/fs")
	if err == nil {
		_, err = io.Copy(io.Discard, in) // what is behind the archive's end counts for the digest
	}
	if err != nil {
		return layerError(layer, err)
	}
	if hex.EncodeToString(in.sum.Sum(nil)) != layer {
		return structs.Errorf(structs.Unavailable, "layer sha256:"+layer, "unpacked it is something else: %w", registry.ErrDigest)
	}
	if err := os.WriteFile(dir+"/size", strconv.AppendInt(nil, size, 10), 0o600); err != nil {
		return err
	}
	if err := s.step("sync a layer"); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	return nil
}

// layerError gives what went wrong while unpacking its kind: errors of the disk and of the source keep theirs, the rest is the
// archive's fault.
func layerError(layer string, err error) error {
	var e *structs.Error
	var p *os.PathError
	var errno unix.Errno
	switch {
	case errors.As(err, &e), isCanceled(err), errors.As(err, &p), errors.As(err, &errno) && errno == unix.ENOSPC, errors.As(err, new(diskError)):
		return err
	}
	return structs.Errorf(structs.Invalid, "layer sha256:"+layer, "it cannot be unpacked: %w", err)
}

var errTooLarge = structs.Errorf(structs.Invalid, "layer", "unpacked it is larger than this node allows").
	Advise("max_layer in the oci block of the node's configuration is the bound")

// measured hashes what passes and bounds it.
type measured struct {
	ctx  context.Context
	from io.Reader
	sum  hash.Hash
	left int64
}

func (m *measured) Read(b []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.from.Read(b)
	m.sum.Write(b[:n])
	if m.left -= int64(n); m.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// ahead decompresses on a processor of its own, a few chunks ahead of its reader.
type ahead struct {
	chunks chan chunk
	free   chan []byte
	end    chan struct{}
	ended  chan struct{}
	now    chunk
}

type chunk struct {
	whole, rest []byte
	err         error
}

const (
	chunkSize = 256 << 10
	maxChunks = 8
)

func readAhead(r io.Reader) *ahead {
	a := &ahead{chunks: make(chan chunk, maxChunks), free: make(chan []byte, maxChunks), end: make(chan struct{}), ended: make(chan struct{})}
	for range maxChunks {
		a.free <- nil
	}
	go func() {
		defer close(a.ended)
		defer func() {
			if c, ok := r.(io.Closer); ok {
				c.Close()
			}
		}()
		for {
			var buf []byte
			select {
			case buf = <-a.free:
			case <-a.end:
				return
			}
			if buf == nil {
				buf = make([]byte, chunkSize)
			}
			n, err := 0, error(nil)
			for n < len(buf) && err == nil {
				select {
				case <-a.end:
					return
				default:
				}
				var m int
				m, err = r.Read(buf[n:])
				n += m
			}
			a.chunks <- chunk{buf, buf[:n], err} // it has room for as many as there are buffers
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *ahead) Read(b []byte) (int, error) {
	for len(a.now.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.whole != nil {
			a.free <- a.now.whole
		}
		a.now = <-a.chunks
	}
	n := copy(b, a.now.rest)
	a.now.rest = a.now.rest[n:]
	return n, nil
}

// Close waits for the other processor to stop. What it reads from must end too, or be closed first.
func (a *ahead) Close() error {
	close(a.end)
	<-a.ended
	return nil
}
