package state

import (
	"slices"

	"github.com/proffer/proffer/structs"
)

// Bounds of what is remembered under idempotency keys. The oldest answers go first: beyond MaxAnswers when they are older
// than answersAge, beyond maxAnswersHard in any case, and after maxAnswersAge.
const (
	MaxAnswers     = 1 << 16
	maxAnswersHard = 4 * MaxAnswers
	answersAge     = structs.Duration(60e9)        // 1 min: a caller that asks again does it within this time
	maxAnswersAge  = structs.Duration(24 * 3600e9) // 1 day
	answerChunk    = 1024                          // how many answers are dropped from memory together
)

// answer is what was said under an idempotency key. It is immutable.
type answer struct {
	Key   string
	Kind  string // of the command
	Time  structs.Time
	Index uint64
	Value any // a pointer to the answer of the kind; nil after an error
	Err   *structs.Error
}

// answered remembers answers: a map to find them, and chunks of a queue, oldest first, to forget them. Chunks are only
// appended to, so that an image of the queue is a copy of its chunks' headers.
type answered struct {
	byKey  map[string]*answer
	chunks [][]*answer
	first  int // answers of chunks[0] that are forgotten
}

func newAnswered() answered { return answered{byKey: make(map[string]*answer)} }

func (a *answered) find(key, kind string) (Result, bool) {
	old, ok := a.byKey[key]
	if !ok {
		return Result{}, false
	}
	if old.Kind != kind {
		return Result{Err: structs.Errorf(structs.Invalid, "idempotency key "+key,
			"it was used for another command (%s) before", old.Kind)}, true
	}
	r := Result{Answer: old.Value, Index: old.Index, Again: true}
	if old.Err != nil {
		r.Err = old.Err
	}
	return r, true
}

func (a *answered) remember(key, kind string, now structs.Time, r Result) {
	one := &answer{Key: key, Kind: kind, Time: now, Index: r.Index, Value: r.Answer}
	if r.Err != nil {
		one.Err = structs.AsError(r.Err)
	}
	a.add(one)
	for {
		oldest := a.chunks[0][a.first]
		age, n := now.Sub(oldest.Time), len(a.byKey)
		if n <= maxAnswersHard && age <= maxAnswersAge && (n <= MaxAnswers || age <= answersAge) {
			return
		}
		delete(a.byKey, oldest.Key)
		if a.first++; a.first == len(a.chunks[0]) && len(a.chunks) > 1 {
			a.chunks, a.first = a.chunks[1:], 0
		}
	}
}

func (a *answered) add(one *answer) {
	a.byKey[one.Key] = one
	if n := len(a.chunks); n == 0 || len(a.chunks[n-1]) == answerChunk {
		a.chunks = append(a.chunks, make([]*answer, 0, answerChunk))
	}
	last := &a.chunks[len(a.chunks)-1]
	*last = append(*last, one)
}

// image returns what is remembered, oldest first, in chunks that do not change any more.
func (a *answered) image() [][]*answer {
	chunks := slices.Clone(a.chunks)
	if len(chunks) > 0 {
		chunks[0] = chunks[0][a.first:]
	}
	return chunks
}
