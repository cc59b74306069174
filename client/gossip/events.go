package gossip

// EventType says what happened to a member.
type EventType string

const (
	Joined  EventType = "join"   // it is new, or came back
	Gone    EventType = "left"   // it said goodbye, or an operator said that it does not come back
	Broken  EventType = "failed" // it stopped answering; or it left, and Gone follows when its notice was overtaken
	Changed EventType = "update" // it says something else of itself
)

// Event is one change of the pool.
type Event struct {
	Type   EventType
	Member Member
}

// eventQueue is how far a subscriber may be behind.
const eventQueue = 1024

// Subscribe returns the changes from now on, after a Joined event for every member that is alive. A subscriber that is
// more than 1,024 events behind gets a closed channel and subscribes again; so does everyone when the pool closes. cancel
// ends it, also with a closed channel; it may be called several times.
func (p *Pool) Subscribe() (events <-chan Event, cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := make(chan Event, eventQueue+len(p.members))
	for name, r := range p.members {
		if r.status == Alive {
			ch <- Event{Joined, r.member(name)}
		}
	}
	if p.ctx.Err() != nil {
		close(ch)
		return ch, func() {}
	}
	p.subscribers[ch] = struct{}{}
	return ch, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dropLocked(ch)
	}
}

func (p *Pool) dropLocked(ch chan Event) {
	if _, ok := p.subscribers[ch]; ok {
		delete(p.subscribers, ch)
		close(ch)
	}
}

func (p *Pool) tellLocked(t EventType, name string, r *record) {
	if len(p.subscribers) == 0 {
		return
	}
	e := Event{t, r.member(name)}
	for ch := range p.subscribers {
		select {
		case ch <- e:
		default:
			p.dropLocked(ch)
		}
	}
}
