package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// A persisted state is
//
//	"proffer state 1\n"
//	records, each: table (one byte), length (uvarint), content
//	a record of table 0 whose content is the CRC-32C of all before it (four bytes, big endian)
//
// The first record, of table metas, is the header in JSON. The records of a table come in order and in msgpack.
const (
	persistMagic = "proffer state 1\n"
	recordLimit  = 64 << 20
)

// Header describes a persisted state.
type Header struct {
	Index  uint64
	Time   structs.Time
	Tables [lastTable + 1]uint64 // index of the last change
	Meta   Meta
}

// Summary is what Inspect finds in a persisted state.
type Summary struct {
	Header
	Records map[string]int // by table
	Bytes   int64
}

// Image is the state at one index as Persist writes it. It costs nothing to take.
type Image struct {
	Snapshot *Snapshot
	answers  [][]*answer
}

// Image returns the state after the last entry, with the remembered answers.
func (s *Store) Image() *Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Image{Snapshot: s.current.Load(), answers: s.answered.image()}
}

// storedAnswer is how an answer is written: its value by itself, because its type depends on the kind.
type storedAnswer struct {
	Key   string
	Kind  string
	Time  structs.Time
	Index uint64
	Value []byte         `json:",omitempty"`
	Err   *structs.Error `json:",omitempty"`
}

type recordWriter struct {
	w    *bufio.Writer
	sum  hash.Hash32
	body []byte
}

func (w *recordWriter) record(t Table, content []byte) error {
	var head [binary.MaxVarintLen64 + 1]byte
	head[0] = byte(t)
	n := 1 + binary.PutUvarint(head[1:], uint64(len(content)))
	if err := w.write(head[:n]); err != nil {
		return err
	}
	return w.write(content)
}

func (w *recordWriter) write(raw []byte) error {
	w.sum.Write(raw)
	_, err := w.w.Write(raw)
	return err
}

func (w *recordWriter) value(t Table, v any) error {
	body, err := msgpack.Append(w.body[:0], v)
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	w.body = body
	return w.record(t, body)
}

// Persist writes the image to out.
func (im *Image) Persist(out io.Writer) error {
	w := &recordWriter{w: bufio.NewWriterSize(out, 1<<16), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	if err := w.write([]byte(persistMagic)); err != nil {
		return err
	}
	s := im.Snapshot
	header, err := json.Marshal(Header{Index: s.index, Time: s.now, Tables: s.tables, Meta: *s.meta})
	if err != nil {
		return err
	}
	if err := w.record(Metas, header); err != nil {
		return err
	}
	for n := range s.Nodes() {
		if err := w.value(Nodes, n); err != nil {
			return err
		}
	}
	for r := range s.Jobs() {
		if err := w.value(Jobs, r); err != nil {
			return err
		}
	}
	s.versions.Scan(func(v *structs.JobVersion) bool {
		err = w.value(Versions, v)
		return err == nil
	})
	if err != nil {
		return err
	}
	for a := range s.Allocs() {
		if err := w.value(Allocs, a); err != nil {
			return err
		}
	}
	for r := range s.Roles() {
		if err := w.value(Roles, r); err != nil {
			return err
		}
	}
	for f := range s.Frameworks() {
		if err := w.value(Frameworks, f); err != nil {
			return err
		}
	}
	for r := range s.Reservations() {
		if err := w.value(Reservations, r); err != nil {
			return err
		}
	}
	for v := range s.Volumes() {
		if err := w.value(Volumes, v); err != nil {
			return err
		}
	}
	for k := range s.RegionKeys() {
		if err := w.value(RegionKeys, k); err != nil {
			return err
		}
	}
	for o := range s.Operations() {
		if err := w.value(Operations, o); err != nil {
			return err
		}
	}
	for v := range s.Variables("") {
		if err := w.value(Variables, v); err != nil {
			return err
		}
	}
	if err := im.persistAnswers(w); err != nil {
		return err
	}
	if err := w.record(0, binary.BigEndian.AppendUint32(nil, w.sum.Sum32())); err != nil {
		return err
	}
	return w.w.Flush()
}

func (im *Image) persistAnswers(w *recordWriter) error {
	for _, chunk := range im.answers {
		for _, a := range chunk {
			one := storedAnswer{Key: a.Key, Kind: a.Kind, Time: a.Time, Index: a.Index, Err: a.Err}
			if a.Value != nil {
				raw, err := msgpack.Append(nil, a.Value)
				if err != nil {
					return err
				}
				one.Value = raw
			}
			if err := w.value(answers, &one); err != nil {
				return err
			}
		}
	}
	return nil
}

// records calls each for every record of a persisted state and checks its sum. The content is valid during the call.
func records(in io.Reader, each func(t Table, content []byte) error) (bytesRead int64, err error) {
	r := bufio.NewReaderSize(in, 1<<16)
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	magic := make([]byte, len(persistMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != persistMagic {
		return 0, errors.New("this is no state that this version can read")
	}
	sum.Write(magic)
	bytesRead = int64(len(magic))
	var content []byte
	var head [binary.MaxVarintLen64 + 1]byte
	for {
		t, err := r.ReadByte()
		if err != nil {
			return bytesRead, cutOff(err)
		}
		size, err := binary.ReadUvarint(r)
		if err != nil {
			return bytesRead, cutOff(err)
		}
		if size > recordLimit {
			return bytesRead, fmt.Errorf("a record of %d bytes", size)
		}
		if uint64(cap(content)) < size {
			content = make([]byte, size, size+size/2)
		}
		content = content[:size]
		if _, err := io.ReadFull(r, content); err != nil {
			return bytesRead, cutOff(err)
		}
		head[0] = t
		n := 1 + binary.PutUvarint(head[1:], size)
		bytesRead += int64(n) + int64(size)
		if t == 0 {
			if !bytes.Equal(content, binary.BigEndian.AppendUint32(nil, sum.Sum32())) {
				return bytesRead, errors.New("the checksum is wrong: the state is damaged")
			}
			return bytesRead, nil
		}
		sum.Write(head[:n])
		sum.Write(content)
		if err := each(Table(t), content); err != nil {
			return bytesRead, err
		}
	}
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the state is cut off")
	}
	return err
}

// Restore replaces the whole state by a persisted one. It builds the new state aside: after an error the old one stands.
// Feeds end with *Lagged.
func (s *Store) Restore(in io.Reader) error {
	work, answered := newTrees(), newAnswered()
	var header *Header
	_, err := records(in, func(t Table, content []byte) error {
		if header == nil {
			h, err := readHeader(t, content)
			header = h
			return err
		}
		return restoreRecord(&work, &answered, t, content)
	})
	if err != nil {
		return err
	}
	if header == nil {
		return errors.New("the state has no header")
	}
	work.meta, work.tally, work.counting = &header.Meta, nil, nil
	next := &Snapshot{index: header.Index, now: header.Time, tables: header.Tables, trees: work.copied()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.work, s.answered = work, answered
	s.watches.restored(s, next)
	return nil
}

func readHeader(t Table, content []byte) (*Header, error) {
	h := new(Header)
	if t != Metas {
		return nil, errors.New("the state does not begin with its header")
	}
	if err := json.Unmarshal(content, h); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if h.Meta.FeatureLevel > FeatureLevel {
		return nil, fmt.Errorf("the state is of feature level %d and this version knows %d: upgrade first",
			h.Meta.FeatureLevel, FeatureLevel)
	}
	return h, nil
}

func restoreRecord(into *trees, answered *answered, t Table, content []byte) error {
	var err error
	switch t {
	case Nodes:
		err = restoreInto[structs.Node](into, t, content)
	case Jobs:
		err = restoreInto[structs.JobRecord](into, t, content)
	case Versions:
		err = restoreInto[structs.JobVersion](into, t, content)
	case Allocs:
		err = restoreInto[structs.Allocation](into, t, content)
	case Roles:
		err = restoreInto[structs.Role](into, t, content)
	case Frameworks:
		err = restoreInto[structs.Framework](into, t, content)
	case Reservations:
		err = restoreInto[structs.Reservation](into, t, content)
	case Volumes:
		err = restoreInto[structs.Volume](into, t, content)
	case Variables:
		err = restoreInto[structs.Variable](into, t, content)
	case RegionKeys:
		err = restoreInto[structs.RegionKey](into, t, content)
	case Operations:
		err = restoreInto[structs.Operation](into, t, content)
	case answers:
		err = restoreAnswer(answered, content)
	default:
		err = errors.New("unknown: this version is older than the state")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	return nil
}

func restoreInto[T any](into *trees, t Table, content []byte) error {
	v := new(T)
	if err := msgpack.Decode(content, v); err != nil {
		return err
	}
	if a, ok := any(v).(*structs.Allocation); ok {
		into.share(a)
	}
	into.install(t, nil, v)
	return nil
}

// share lets a use the texts of its job and node, which many allocations have in common.
func (t *trees) share(a *structs.Allocation) {
	if n := get(t.nodes, a.Node); n != nil {
		a.Node = n.ID
		if n.Name == a.NodeName {
			a.NodeName = n.Name
		}
	}
	r := get(t.jobs, a.Job)
	if r == nil {
		return
	}
	a.Job = r.Name
	if r.Role == a.Role {
		a.Role = r.Role
	}
	if v := t.version(r.Name, a.Version); v != nil {
		if v.Job.Owner == a.Owner {
			a.Owner = v.Job.Owner
		}
		if g := v.Job.Group(a.Group); g != nil {
			a.Group = g.Name
			if g.OnLost == a.OnLost {
				a.OnLost = g.OnLost
			}
		}
	}
	if s, ok := allocStatus(a.Status); ok {
		a.Status = s
	}
	t.shareMarks(a)
}

// shareMarks lets a use the marks of another allocation of its group, when they are the same; of one, since they seldom differ.
func (t *trees) shareMarks(a *structs.Allocation) {
	if a.Marks == nil {
		return
	}
	for o := range t.ofSlot(slotKey{job: a.Job, group: a.Group}, func(k slotKey) bool { return k.job == a.Job && k.group == a.Group }) {
		if o.Marks.Equal(a.Marks) {
			a.Marks = o.Marks
		}
		return
	}
}

func restoreAnswer(into *answered, content []byte) error {
	var one storedAnswer
	if err := msgpack.Decode(content, &one); err != nil {
		return err
	}
	a := &answer{Key: one.Key, Kind: one.Kind, Time: one.Time, Index: one.Index, Err: one.Err}
	if one.Value != nil {
		kind, known := kinds[one.Kind]
		if !known {
			return fmt.Errorf("unknown command %q", one.Kind)
		}
		a.Value = kind.answer()
		if err := msgpack.Decode(one.Value, a.Value); err != nil {
			return err
		}
	}
	into.add(a)
	return nil
}

// Regenerate copies a persisted state from in to out with another generation. It returns the size of the copy.
func Regenerate(in io.Reader, out io.Writer, generation string) (int64, error) {
	count := &counter{w: out}
	w := &recordWriter{w: bufio.NewWriterSize(count, 1<<16), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	if err := w.write([]byte(persistMagic)); err != nil {
		return 0, err
	}
	first := true
	_, err := records(in, func(t Table, content []byte) error {
		if !first {
			return w.record(t, content)
		}
		first = false
		h, err := readHeader(t, content)
		if err != nil {
			return err
		}
		h.Meta.Generation = generation
		header, err := json.Marshal(h)
		if err != nil {
			return err
		}
		return w.record(Metas, header)
	})
	if err != nil {
		return 0, err
	}
	if err := w.record(0, binary.BigEndian.AppendUint32(nil, w.sum.Sum32())); err != nil {
		return 0, err
	}
	err = w.w.Flush()
	return count.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Inspect reads a persisted state to its end, checks its sum, and says what is in it.
func Inspect(in io.Reader) (*Summary, error) {
	s := &Summary{Records: make(map[string]int)}
	first := true
	n, err := records(in, func(t Table, content []byte) error {
		if first {
			first = false
			h, err := readHeader(t, content)
			if err == nil {
				s.Header = *h
			}
			return err
		}
		s.Records[t.String()]++
		return nil
	})
	s.Bytes = n
	if err == nil && first {
		err = errors.New("the state has no header")
	}
	return s, err
}
