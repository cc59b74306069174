package wal

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// recover reads the folder: it finds the segments that make up the log, checks every frame in them, and rebuilds the
// table of entries.
func (l *Log) recover() error {
	lives, err := l.tidy()
	if err != nil {
		return err
	}
	kept, err := l.connect(lives)
	if err != nil {
		return err
	}
	for _, life := range lives[:len(lives)-len(kept)] {
		// Left over: it was dropped, and the crash came before that was durable.
		if err := l.disk.Remove(segmentName(life)); err != nil {
			return err
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return l.replay()
}

// tidy removes what a crash left half made, opens the stable file or makes one, and returns the numbers of the segments.
func (l *Log) tidy() (lives []uint64, err error) {
	if err := l.disk.Sync(); err != nil { // a process before us may have failed to
		return nil, err
	}
	names, err := l.disk.Names()
	if err != nil {
		return nil, err
	}
	known := false
	for _, name := range names {
		life, isSegment := segmentLife(name)
		switch {
		case isSegment:
			lives = append(lives, life)
		case name == stableName:
			known = true
		case name == spareName, name == stableNewName:
			if err := l.disk.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(lives)
	switch {
	case known:
		l.stableFile, l.stable, err = openStable(l.disk)
	case len(lives) > 0:
		return nil, l.missing(stableName)
	default:
		l.stableFile, l.stable, err = createStable(l.disk)
	}
	if err != nil {
		return nil, err
	}
	if newest := l.stable.mark.life; newest > 0 && (len(lives) == 0 || lives[len(lives)-1] < newest) {
		return nil, l.missing(segmentName(newest))
	}
	return lives, nil
}

func (l *Log) missing(name string) error {
	e := structs.Errorf(structs.Internal, l.path(name), "the file is missing")
	e.Op = "open log"
	return e.Advise("put it back, or take this server out, remove its data folder and let it join again")
}

// connect opens the segments from the newest back to the oldest that the next one follows directly.
func (l *Log) connect(lives []uint64) ([]*segment, error) {
	for i := len(lives) - 1; i >= 0; i-- {
		if n := len(l.segments); n > 0 && l.segments[n-1].prevLife != lives[i] {
			break
		}
		s, err := openSegment(l.disk, lives[i])
		if err != nil {
			return nil, err
		}
		l.segments = append(l.segments, s)
	}
	slices.Reverse(l.segments)
	return l.segments, nil
}

// replay checks and applies all frames. Entries that the oldest segment says were in earlier ones must turn out to
// have been dropped.
func (l *Log) replay() error {
	oldest := l.segments[0]
	r := replay{log: l, absent: oldest.count}
	l.first = oldest.first
	for i, s := range l.segments[:len(l.segments)-1] {
		if err := r.sealed(s, l.segments[i+1]); err != nil {
			return err
		}
	}
	last, err := r.newest(l.segments[len(l.segments)-1])
	if err != nil {
		return err
	}
	l.tail = l.segments[len(l.segments)-1]
	if last == nil {
		err = r.complete(oldest)
	} else {
		err = r.again(last, oldest)
	}
	if err != nil {
		return err
	}
	l.dropSegments()
	return l.failed
}

// complete tells whether all entries were found, now that all frames are applied.
func (r *replay) complete(oldest *segment) error {
	if r.absent > 0 {
		return r.log.missing(segmentName(oldest.prevLife))
	}
	return nil
}

// again applies the last frame and writes it once more, into a segment of its own, so that it is durable.
func (r *replay) again(logical []byte, oldest *segment) error {
	l := r.log
	first, count := l.first, r.absent+uint64(len(l.places))
	s := &segment{}
	if why := r.apply(s, blockSize, parseFrame(logical)); why != "" {
		return damage(l.tail.name, l.tail.end, "frame %d: %s", l.tail.frames+1, why)
	}
	if err := r.complete(oldest); err != nil {
		return err
	}
	l.logical = logical
	defer l.shrink()
	return l.roll(s, first, count)
}

// replay is the state of reading a log. absent counts entries that come before those in log.places and whose segments
// are gone: the log has absent + len(places) entries from log.first on.
type replay struct {
	log    *Log
	absent uint64
}

// sealed reads a segment that has a successor, which says where it ends.
func (r *replay) sealed(s, next *segment) error {
	if next.prevEnd < s.end {
		return damage(next.name, 0, "the header says that %s ends at %d", s.name, next.prevEnd)
	}
	file, err := s.contents(next.prevEnd)
	if err != nil {
		return err
	}
	if err := r.frames(s, file); err != nil {
		return err
	}
	switch {
	case s.end != next.prevEnd:
		return damage(s.name, s.end, "frame %d is missing", s.frames+1)
	case s.chain != next.prevChain:
		return damage(s.name, s.end, "the next segment does not follow what is before it")
	}
	return r.reachesMark(s, next.prevEnd)
}

// newest reads the last segment. Its last frame is returned, and not applied, when it may have been acknowledged
// without being durable: after a sync that failed, the page cache shows what the disk may not have. Frames before it
// were synced before it was written.
func (r *replay) newest(s *segment) (last []byte, err error) {
	file, err := s.contents(0)
	if err != nil {
		return nil, err
	}
	end, scan := s.end, segment{header: s.header, name: s.name, end: s.end, chain: s.chain}
	var logical []byte
	for {
		if logical, err = scan.next(file, logical[:0]); err != nil {
			return nil, err
		}
		if logical == nil {
			break
		}
		end = scan.end
		scan.accept(logical)
	}
	torn, err := scan.checkTail(file)
	if err != nil {
		return nil, err
	}
	if err := r.reachesMark(s, scan.end); err != nil {
		return nil, err
	}
	mark := r.log.stable.mark
	certain := torn || scan.frames <= 1 || mark.life == s.life && scan.end <= mark.end
	if certain {
		end = scan.end
	}
	if err := r.frames(s, file[:end]); err != nil {
		return nil, err
	}
	if torn {
		r.log.o.Logger.Info("the last append was cut short and had not been acknowledged; it is left out",
			"file", r.log.path(s.name), "offset", s.end)
	}
	if certain {
		return nil, nil
	}
	return s.next(file, nil)
}

// reachesMark tells whether a segment goes as far as it had been acknowledged.
func (r *replay) reachesMark(s *segment, end int64) error {
	if mark := r.log.stable.mark; mark.life == s.life && end < mark.end {
		return damage(s.name, end, "acknowledged frames are missing: the segment had reached offset %d", mark.end)
	}
	return nil
}

// frames applies the frames of a segment, as far as file goes.
func (r *replay) frames(s *segment, file []byte) error {
	var logical []byte
	for {
		var err error
		if logical, err = s.next(file, logical[:0]); err != nil || logical == nil {
			return err
		}
		if why := r.apply(s, s.end, parseFrame(logical)); why != "" {
			return damage(s.name, s.end, "frame %d: %s", s.frames+1, why)
		}
		s.accept(logical)
		if mark := r.log.stable.mark; mark.life == s.life && mark.end == s.end && mark.chain != s.chain {
			return damage(s.name, s.end, "these are not the frames that had been acknowledged")
		}
	}
}

// apply changes the table of entries as the frame at off says. It returns what is wrong with the frame, if anything.
func (r *replay) apply(s *segment, off int64, f frame) string {
	l := r.log
	count := r.absent + uint64(len(l.places))
	switch f.kind {
	case entries:
		if count == 0 {
			l.first = f.index
		}
		if f.index != l.first+count || f.index == 0 || f.count == 0 {
			return fmt.Sprintf("entry %d follows entry %d", f.index, l.first+count-1)
		}
		pos, rest := uint32(frameHeader), f.payload
		for i := uint32(0); i < f.count; i++ {
			n, ok := entryLength(rest)
			if !ok {
				return fmt.Sprintf("entry %d runs over the end of the frame", f.index+uint64(i))
			}
			l.places = append(l.places, place{seg: s, off: off, pos: pos, n: uint32(n)})
			s.live++
			pos, rest = pos+uint32(n), rest[n:]
		}
		if len(rest) > 0 {
			return fmt.Sprintf("%d bytes follow its entries", len(rest))
		}
	case dropHead, dropTail:
		if f.index-l.first >= count {
			return fmt.Sprintf("it drops entries at %d, and the log has %d from %d on", f.index, count, l.first)
		}
		r.drop(f)
	default:
		return fmt.Sprintf("unknown kind %d", f.kind)
	}
	return ""
}

// drop applies a dropHead or dropTail whose index lies in the log.
func (r *replay) drop(f frame) {
	l := r.log
	n := f.index - l.first // entries before the cut
	known := n - min(n, r.absent)
	head, tail := l.places[:known], l.places[known:]
	gone := head
	if f.kind == dropHead {
		r.absent -= min(n, r.absent)
		l.first, l.places = f.index, tail
	} else {
		r.absent = min(n, r.absent)
		gone, l.places = tail, head
	}
	for _, p := range gone {
		p.seg.live--
	}
}
