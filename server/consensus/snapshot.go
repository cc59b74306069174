package consensus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	closeSnapshotEntries = 1024 // entries since the last snapshot that make one worth while at the end

	archiveMagic  = "proffer snapshot 1\n"
	archiveFormat = 1
	archiveLimit  = 64 << 30 // bytes of state that an archive may unpack to
)

// snapshotLoop takes a snapshot when enough was applied since the last one: a number of entries, or more bytes than both
// SnapshotBytes and the last snapshot, so that a large state is not written over and over.
func (n *Node) snapshotLoop() {
	tick := time.NewTicker(n.cfg.SnapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		if n.fsm.entries.Load() < n.cfg.SnapshotEntries && n.fsm.bytes.Load() < max(n.cfg.SnapshotBytes, n.fsm.saved.Load()) {
			continue
		}
		if err := n.takeSnapshot(); err != nil && n.ctx.Err() == nil {
			n.log.Error("the snapshot failed and the log grows on", "error", err)
		}
	}
}

func (n *Node) takeSnapshot() error {
	most := n.trailing.Load()
	trailing := most
	if e := n.fsm.entries.Load(); e > 0 {
		size := max(1, uint64(n.fsm.bytes.Load())/e)
		trailing = min(max(uint64(n.cfg.TrailingBytes)/size, n.cfg.trailingLeast), most)
	}
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = trailing
	if err := n.raft.ReloadConfig(rc); err != nil {
		return err
	}
	err := n.await(n.ctx, n.raft.Snapshot())
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// SetTrailing changes how many entries stay in the log behind the next snapshot, at most.
func (n *Node) SetTrailing(entries uint64) { n.trailing.Store(entries) }

// Snapshot takes a Raft snapshot now, which lets the log be shortened.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.takeSnapshot(); err != nil {
		return structs.Errorf(structs.Internal, "snapshot", "%w", err)
	}
	return nil
}

// Archive describes a saved snapshot.
type Archive struct {
	Format       int            `json:"format"`
	Region       string         `json:"region"`
	Generation   string         `json:"generation"`
	FeatureLevel int            `json:"feature_level"`
	Index        uint64         `json:"index"`
	Time         structs.Time   `json:"time"`     // of the last change
	Records      map[string]int `json:"records"`  // by table
	Bytes        int64          `json:"bytes"`    // of state, unpacked
	Checksum     string         `json:"checksum"` // SHA-256 of the state, unpacked
}

// SaveSnapshot writes an archive of the state to w: a line that names the format, and the persisted state under zstd. Its
// caller decides whether ReadIndex comes first.
func (n *Node) SaveSnapshot(ctx context.Context, w io.Writer) (Archive, error) {
	image := n.store.Image()
	if _, err := io.WriteString(w, archiveMagic); err != nil {
		return Archive{}, structs.Errorf(structs.Internal, "snapshot", "cannot be written: %w", err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Archive{}, structs.Errorf(structs.Internal, "snapshot", "%w", err)
	}
	sum := sha256.New()
	summaries := make(chan *state.Summary, 1)
	pr, pw := io.Pipe()
	go func() { // ends when the pipe does, before this function returns
		s, err := state.Inspect(pr)
		pr.CloseWithError(err)
		summaries <- s
	}()
	err = image.Persist(contextWriter{ctx, io.MultiWriter(z, sum, pw)})
	pw.CloseWithError(err)
	summary := <-summaries
	if err := joinErrors(err, z.Close()); err != nil {
		return Archive{}, structs.Errorf(structs.Internal, "snapshot", "cannot be written: %w", err)
	}
	return archiveOf(summary, sum.Sum(nil)), nil
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.w.Write(p)
}

func archiveOf(s *state.Summary, sum []byte) Archive {
	return Archive{Format: archiveFormat, Region: s.Meta.Region, Generation: s.Meta.Generation, FeatureLevel: s.Meta.FeatureLevel,
		Index: s.Index, Time: s.Time, Records: s.Records, Bytes: s.Bytes, Checksum: hex.EncodeToString(sum)}
}

// InspectSnapshot reads and verifies an archive.
func InspectSnapshot(r io.Reader) (Archive, error) { return unpack(r, io.Discard) }

// ReadSnapshot reads and verifies an archive, and returns the state in it.
func ReadSnapshot(r io.Reader) (*state.Snapshot, error) {
	store, restored := state.New(), make(chan error, 1)
	pr, pw := io.Pipe()
	go func() { // ends when the pipe does, before this function returns
		err := store.Restore(pr)
		if err == nil {
			_, err = io.Copy(io.Discard, pr)
		}
		pr.CloseWithError(err)
		restored <- err
	}()
	_, err := unpack(r, pw)
	pw.CloseWithError(err)
	if fault := <-restored; err == nil && fault != nil {
		err = structs.Errorf(structs.Invalid, "snapshot", "%w", fault).Advise("use a file that operator snapshot save wrote")
	}
	if err != nil {
		return nil, err
	}
	return store.Snapshot(), nil
}

// unpack reads an archive, verifies it, and writes the persisted state in it to to.
func unpack(from io.Reader, to io.Writer) (Archive, error) {
	r := &Body{Reader: from}
	bad := func(err error) (Archive, error) {
		if r.Err != nil {
			return Archive{}, r.Fault()
		}
		return Archive{}, structs.Errorf(structs.Invalid, "snapshot", "%w", err).Advise("use a file that operator snapshot save wrote")
	}
	magic := make([]byte, len(archiveMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != archiveMagic {
		return bad(errors.New("this is no snapshot that this version can read"))
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return bad(err)
	}
	defer z.Close()
	sum := sha256.New()
	summary, err := state.Inspect(io.TeeReader(io.LimitReader(z, archiveLimit), io.MultiWriter(to, sum)))
	if err != nil {
		return bad(err)
	}
	return archiveOf(summary, sum.Sum(nil)), nil
}

// Body is an archive on its way; it remembers why reading failed.
type Body struct {
	io.Reader
	Err error // not io.EOF
}

func (b *Body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		b.Err = err
	}
	return n, err
}

// Fault says that it did not arrive.
func (b *Body) Fault() error {
	return structs.Errorf(structs.Invalid, "snapshot", "it did not arrive in full: %w", b.Err)
}

// RestoreSnapshot replaces the region's state by an archive, which is read and verified in full first, and gives the
// region a new generation. What was committed since the archive was saved is lost. Leader only.
func (n *Node) RestoreSnapshot(ctx context.Context, r io.Reader) (Archive, error) {
	if n.lead.term() == nil {
		return Archive{}, n.notLeader("restore")
	}
	f, err := os.CreateTemp(n.cfg.TempDir, "proffer-restore-")
	if err != nil {
		return Archive{}, structs.Errorf(structs.Internal, "snapshot", "there is no room to unpack it: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	generation := structs.NewID()
	a, size, err := unpackAs(generation, r, f)
	if err != nil {
		return a, err
	}
	if a.Region != "" && n.cfg.Region != "" && a.Region != n.cfg.Region {
		return a, structs.Errorf(structs.Conflict, "snapshot", "it is of region %q and this is region %q", a.Region, n.cfg.Region)
	}
	if err := tryRestore(f); err != nil {
		return a, err
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: a.Index, Term: n.raft.CurrentTerm(), Size: size}
	if err := n.raft.Restore(meta, f, 0); err != nil {
		return a, n.fault("restore", err)
	}
	// The generation is in what was restored, so that no server ever shows the old state under the old generation. The
	// command moves the index of the state beyond all that there was before.
	if _, _, err := n.Propose(ctx, "", "operator", &state.SetGeneration{Generation: generation}); err != nil {
		return a, &structs.Error{Kind: structs.Unknown, Object: "snapshot", Why: "it was restored, and the region does not confirm it: " + err.Error(),
			Do: "look at the jobs and nodes before trying again", Err: err}
	}
	n.log.Warn("the state was replaced by a snapshot", "index", a.Index, "generation", generation)
	return a, nil
}

// tryRestore restores what f holds into a store that nobody sees, and rewinds f: raft panics when that fails in earnest,
// and the server would not start again.
func tryRestore(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	if err == nil {
		if err := state.New().Restore(f); err != nil {
			return structs.Errorf(structs.Invalid, "snapshot", "%w", err).Advise("use a file that operator snapshot save wrote")
		}
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return structs.Errorf(structs.Internal, "snapshot", "%w", err)
	}
	return nil
}

// unpackAs is unpack, and gives the state in the archive another generation on the way. It returns the size of what it
// wrote.
func unpackAs(generation string, r io.Reader, to io.Writer) (Archive, int64, error) {
	type copied struct {
		size int64
		err  error
	}
	done := make(chan copied, 1)
	pr, pw := io.Pipe()
	go func() { // ends when the pipe does, before this function returns
		size, err := state.Regenerate(pr, to, generation)
		pr.CloseWithError(err)
		done <- copied{size, err}
	}()
	a, err := unpack(r, pw)
	pw.CloseWithError(err)
	c := <-done
	if err == nil && c.err != nil {
		err = structs.Errorf(structs.Internal, "snapshot", "it cannot be unpacked: %w", c.err)
	}
	return a, c.size, err
}

// joinErrors returns the errors that are not nil, as one.
func joinErrors(errs ...error) error { return errors.Join(errs...) }
