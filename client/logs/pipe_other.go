//go:build unix && !linux

package logs

// FromPipe moves what is in a non-blocking pipe, up to some ten thousand bytes of it, to the stream; the descriptor stays the
// caller's. 0 without an error is the end of the pipe, EAGAIN that it is empty.
func (w *Writer) FromPipe(fd int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copyPipe(fd)
}
