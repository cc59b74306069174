package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// output copies what a container writes from the engine's log to the node's files, until the container has ended and all is
// copied. The engine keeps the log, so nothing is lost while nobody copies; a position beside the files says how far it was, so
// that nothing comes twice: what the files have beyond the position is skipped.
type output struct {
	d       *Driver
	id      string
	file    string // of the position
	streams [2]drivers.Output
	done    chan struct{}
	cancel  context.CancelFunc
	follow  context.Context // ends when the container is known to have ended
	last    context.CancelFunc

	at   position
	past [2]int64 // bytes beyond at that the files have
	skip [2]int64 // of those, bytes that are still to come again
	// recent are the bytes that came in this pass, by the second of their entries, from at.Since on.
	recent map[int64]*[2]int64
	newest int64     // second
	kept   time.Time // when the position was written
}

// position is a point in the log: what its entries of earlier seconds hold is in the files, where it ends at these offsets.
type position struct {
	Container string
	Since     int64 // second; 0: the beginning
	Bytes     [2]int64
}

// settle is how many seconds an entry may come late: the engine writes the two streams side by side, and an entry of one may be
// behind later ones of the other.
const settle = 2

var streamNames = [2]string{"stdout", "stderr"}

func positionFile(spec *drivers.Spec) string {
	return filepath.Join(spec.LogDir, "."+spec.Task.Name+".docker")
}

// begin notes where the output of a new container begins in the files.
func begin(spec *drivers.Spec, id string) {
	if spec.Output == nil {
		return
	}
	p := position{Container: id}
	for i, name := range streamNames {
		o := spec.Output(name)
		p.Bytes[i], _ = o.Offset()
		o.Close()
	}
	if os.MkdirAll(spec.LogDir, 0o755) == nil {
		p.write(positionFile(spec))
	}
}

func (p *position) write(file string) error {
	raw, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(file+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	return err
}

// copyOutput makes sure that the output of a container is copied. There is one output for each container.
func (d *Driver) copyOutput(spec *drivers.Spec, id string) *output {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.outputs[id]; o != nil {
		return o
	}
	o := &output{d: d, id: id, file: positionFile(spec), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(d.running)
	o.cancel = cancel
	o.follow, o.last = context.WithCancel(ctx)
	d.outputs[id] = o
	if spec.Output == nil {
		cancel()
		close(o.done)
		return o
	}
	o.at.Container = id
	for i, name := range streamNames {
		o.streams[i] = spec.Output(name)
	}
	var known position
	raw, err := os.ReadFile(o.file)
	found := err == nil && json.Unmarshal(raw, &known) == nil && known.Container == id
	if found {
		o.at = known
	}
	for i, s := range o.streams {
		now, err := s.Offset()
		switch {
		case err != nil:
		case found:
			o.past[i] = max(0, now-o.at.Bytes[i])
		default:
			o.at.Bytes[i] = now
		}
	}
	if !d.begin(func() {
		defer close(o.done)
		defer cancel()
		o.run(ctx)
		for _, s := range o.streams {
			s.Close()
		}
	}) {
		cancel()
		close(o.done)
		for _, s := range o.streams {
			s.Close()
		}
	}
	return o
}

// forgetOutput ends copying from a container that is gone.
func (d *Driver) forgetOutput(id string) {
	d.mu.Lock()
	o := d.outputs[id]
	delete(d.outputs, id)
	d.mu.Unlock()
	if o != nil {
		o.cancel()
		<-o.done
		os.Remove(o.file)
	}
}

// How long the end of a task waits for its output: followLimit for the engine to end the log by itself, which it does not always do
// after a restart, and drainLimit in all, because the log may be slow or gone.
const (
	followLimit = time.Second
	drainLimit  = 10 * time.Second
)

// drained waits until all output of an ended container is in the files.
func (o *output) drained(ctx context.Context) {
	for _, limit := range []time.Duration{followLimit, drainLimit} {
		timer := time.NewTimer(limit)
		select {
		case <-o.done:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		o.last()
	}
}

// run copies until a pass over the log that began after the end of the container is through.
func (o *output) run(ctx context.Context) {
	t := &task{d: o.d, id: o.id, spec: o.id}
	for over := false; ; {
		passing := ctx
		if !over {
			passing = o.follow
		}
		err := o.pass(passing, !over)
		if ctx.Err() != nil {
			o.at.write(o.file)
			return
		}
		if !over && o.follow.Err() != nil {
			over = true
			continue
		}
		if err == nil && over {
			o.at.write(o.file)
			return
		}
		state, looked := t.inspect(ctx)
		switch {
		case structs.KindOf(looked) == structs.NotFound:
			return
		case looked != nil || err != nil:
			if o.d.engine.up(ctx) != nil || !pause.For(ctx, 100*time.Millisecond) {
				return
			}
		case !state.Running:
			over = true
		default: // the engine ended the stream of one that runs
			if !pause.For(ctx, 100*time.Millisecond) {
				return
			}
		}
	}
}

// pass copies from the position to the end of the log; with follow, that is the end of the container.
func (o *output) pass(ctx context.Context, follow bool) error {
	api, err := o.d.engine.client(ctx)
	if err != nil {
		return err
	}
	o.skip, o.recent, o.newest = o.past, make(map[int64]*[2]int64), 0
	since := ""
	if o.at.Since > 0 {
		since = strconv.FormatInt(o.at.Since, 10)
	}
	r, err := api.ContainerLogs(ctx, o.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Since: since})
	if err != nil {
		return err
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, 4<<10)
	for {
		if err := o.entry(in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// maxEntry bounds one entry: engines cut lines at 16 KiB.
const maxEntry = 16 << 20

// entry copies one entry: a header with stream and length, then the time, a space and what was written.
func (o *output) entry(in *bufio.Reader) error {
	var header [8]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint32(header[4:]))
	if header[0] < 1 || header[0] > 2 || length > maxEntry {
		return fmt.Errorf("the engine's log has an entry of stream %d with %d bytes", header[0], length)
	}
	stamp, err := in.ReadSlice(' ')
	if err != nil || len(stamp) > length {
		return errors.Join(errors.New("the engine's log has an entry without a time"), err)
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp[:len(stamp)-1]))
	if err != nil {
		return err
	}
	stream := int(header[0] - 1)
	second := at.Unix()
	if second > o.newest {
		o.newest = second
		o.move()
	}
	if second < o.at.Since { // later than anybody waits for: it will not come again
		o.at.Bytes[stream] += int64(length - len(stamp))
		o.past[stream] -= int64(length - len(stamp))
	} else {
		if o.recent[second] == nil {
			o.recent[second] = new([2]int64)
		}
		o.recent[second][stream] += int64(length - len(stamp))
	}
	for left := length - len(stamp); left > 0; {
		part, err := in.Peek(min(left, in.Size()))
		if len(part) == 0 {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		fresh := part
		if n := min(o.skip[stream], int64(len(part))); n > 0 {
			o.skip[stream] -= n
			fresh = part[n:]
		}
		o.streams[stream].Write(fresh)
		o.past[stream] += int64(len(fresh))
		left -= len(part)
		in.Discard(len(part))
	}
	return nil
}

// keepEvery is how often the position is written.
const keepEvery = time.Second

// move moves the position behind what has settled, and writes it now and then.
func (o *output) move() {
	if o.skip != [2]int64{} {
		return
	}
	to := o.newest - settle
	for second, bytes := range o.recent {
		if second >= to {
			continue
		}
		for i, n := range bytes {
			o.at.Bytes[i] += n
			o.past[i] -= n
		}
		delete(o.recent, second)
	}
	o.at.Since = max(o.at.Since, to)
	if now := time.Now(); now.Sub(o.kept) >= keepEvery {
		o.kept = now
		o.at.write(o.file)
	}
}
