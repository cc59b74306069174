package logs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// FromPipe moves what is in a non-blocking pipe, up to some ten thousand bytes of it, to the stream; the descriptor stays the
// caller's. 0 without an error is the end of the pipe, EAGAIN that it is empty. The kernel moves the bytes in one call, so when
// this process is killed they are in the pipe or in the file, and never lost or in both.
func (w *Writer) FromPipe(fd int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// An empty pipe must not be read: what comes a moment later would be taken out of it before it is in the file.
	if there, err := waiting(fd); errors.Is(err, unix.EAGAIN) || err == nil && !there {
		return 0, err
	}
	f, n, err := w.ready(fd)
	if err == nil && n > 0 {
		for {
			moved, err := unix.Splice(fd, nil, int(f.Fd()), nil, n, unix.SPLICE_F_NONBLOCK)
			switch {
			case moved > 0:
				w.size += moved
				return int(moved), nil
			case errors.Is(err, unix.EINTR):
				continue
			}
			break // this file system cannot, or it is full: Write knows what to do
		}
	}
	return w.copyPipe(fd)
}

// ready says how much may be moved to the current file now; nothing when the bytes have to be copied instead.
func (w *Writer) ready(fd int) (f *os.File, n int, err error) {
	if w.closed || w.dropped > 0 {
		return nil, 0, nil
	}
	if n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n == 0 {
		return nil, 0, err
	}
	if w.f == nil {
		if err := w.resume(); err != nil {
			return nil, 0, err
		}
	}
	if int64(n) > int64(w.limits.MaxFileSize)-w.size {
		next, err := w.next(fd)
		if err == nil && w.fit(next) == 0 {
			if err = w.rotate(); err == nil {
				next, err = w.next(fd)
			}
		}
		if err != nil {
			return nil, 0, err
		}
		n = w.fit(next)
	}
	f, ok := w.f.(*os.File)
	if !ok {
		return nil, 0, nil
	}
	return f, n, nil
}

// waiting reports whether there are bytes in a pipe: false at its end, EAGAIN when there are none yet. It takes nothing out.
func waiting(fd int) (bool, error) {
	if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n > 0 {
		return n > 0, err
	}
	b, err := peek(fd, 1)
	return len(b) > 0, err
}

// next peeks at what the current file has room for, and one byte more.
func (w *Writer) next(fd int) ([]byte, error) {
	return peek(fd, int(max(int64(w.limits.MaxFileSize)-w.size, 0))+1)
}

// peek returns up to n of the bytes that are next in a pipe, and leaves them there.
func peek(fd, n int) ([]byte, error) {
	var copies [2]int
	if err := unix.Pipe2(copies[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	defer unix.Close(copies[0])
	defer unix.Close(copies[1])
	m, err := unix.Tee(fd, copies[1], n, unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return nil, err
	}
	b := make([]byte, m)
	for got := b[:0]; ; {
		k, err := unix.Read(copies[0], b[len(got):])
		if got = b[:len(got)+max(k, 0)]; k <= 0 || len(got) == len(b) {
			return got, err
		}
	}
}
