package state

import (
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Bounds of what is remembered under idempotency keys. The oldest answers go first: beyond MaxAnswers when they are older
// than answersAge, beyond maxAnswersHard in any case, and after maxAnswersAge. Those under brief keys, which are far more,
// go after briefAge.
const (
	MaxAnswers     = 1 << 14
	maxAnswersHard = 1 << 18
	answersAge     = structs.Duration(60e9)        // 1 min: a caller that asks again does it within this time
	maxAnswersAge  = structs.Duration(24 * 3600e9) // 1 day
	briefAge       = structs.Duration(120e9)       // 2 min: twice as long as a server tries
	answerChunk    = 1024                          // how many answers are dropped from memory together
)

// briefMark begins a brief key.
const briefMark = "~"

// BriefKey returns a random key for a command that nobody but its maker asks for again, which is a server, and soon.
func BriefKey() string { return briefMark + structs.NewID() }

// answer is what was said under an idempotency key. It is immutable.
type answer struct {
	Key   string
	Kind  string // of the command
	Time  structs.Time
	Index uint64
	Value any // a pointer to the answer of the kind; nil after an error
	Err   *structs.Error
}

// answered remembers answers: a map to find them, and queues to forget them.
type answered struct {
	byKey map[string]*answer
	long  answerQueue
	brief answerQueue // under brief keys
}

// answerQueue has answers in chunks, oldest first. Chunks are only appended to, so that an image of the queue is a copy of
// their headers.
type answerQueue struct {
	chunks [][]*answer
	first  int // answers of chunks[0] that are forgotten
	len    int
}

func newAnswered() answered { return answered{byKey: make(map[string]*answer)} }

// queue returns the one that key belongs to.
func (a *answered) queue(key string) *answerQueue {
	if strings.HasPrefix(key, briefMark) {
		return &a.brief
	}
	return &a.long
}

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
	for a.long.len > 0 {
		age, n := now.Sub(a.long.oldest().Time), a.long.len
		if n <= maxAnswersHard && age <= maxAnswersAge && (n <= MaxAnswers || age <= answersAge) {
			break
		}
		delete(a.byKey, a.long.drop().Key)
	}
	for a.brief.len > 0 && (a.brief.len > maxAnswersHard || now.Sub(a.brief.oldest().Time) > briefAge) {
		delete(a.byKey, a.brief.drop().Key)
	}
}

func (a *answered) add(one *answer) {
	a.byKey[one.Key] = one
	a.queue(one.Key).push(one)
}

// image returns what is remembered in chunks that do not change any more, of each queue oldest first.
func (a *answered) image() [][]*answer { return append(a.long.image(), a.brief.image()...) }

func (q *answerQueue) push(one *answer) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == answerChunk {
		q.chunks = append(q.chunks, make([]*answer, 0, answerChunk))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, one)
	q.len++
}

func (q *answerQueue) oldest() *answer { return q.chunks[0][q.first] }

// drop removes the oldest one. Its chunk keeps it in memory until all of that is dropped.
func (q *answerQueue) drop() *answer {
	one := q.oldest()
	q.len--
	if q.first++; q.first == answerChunk {
		q.chunks, q.first = q.chunks[1:], 0
	}
	return one
}

func (q *answerQueue) image() [][]*answer {
	chunks := slices.Clone(q.chunks)
	if len(chunks) > 0 {
		chunks[0] = chunks[0][q.first:]
	}
	return chunks
}
