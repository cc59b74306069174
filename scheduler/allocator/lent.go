package allocator

// What production and monitoring work holds counts towards the guarantees of its role and of those above. A role that has a
// guarantee counts above it with no more than that: what it holds beyond is lent to it, and leaves the guarantee of the role
// above to its siblings. Two such counts are kept: high, of all such work, says what may be served in its band; staying,
// without what is being stopped, says what may be reclaimed.

// counts picks one of the counts of an account.
type counts func(*account) *[]int64

func highOf(acc *account) *[]int64    { return &acc.high }
func stayingOf(acc *account) *[]int64 { return &acc.staying }

// raise adds an amount, which may be negative, to a count of an account and of those above it.
func (a *Allocator) raise(acc *account, of counts, amount []int64, sign int64) {
	delta := a.delta[:0]
	for _, v := range amount {
		delta = append(delta, sign*v)
	}
	a.delta = delta
	for x := acc; x != nil; x = x.parent {
		count := of(x)
		addTo(count, delta, 1)
		for kind := range x.guarantee {
			if g, named := x.guarantee.at(kind); named && kind < len(delta) {
				now := (*count)[kind]
				delta[kind] = min(g, now) - min(g, now-delta[kind])
			}
		}
	}
}

// raiseStaying is raise of what stays, and notes where that changes what may be reclaimed.
func (a *Allocator) raiseStaying(acc *account, amount []int64, sign int64) {
	a.noteReclaim(acc)
	a.raise(acc, stayingOf, amount, sign)
	a.noteReclaim(acc)
}

// noteReclaim is called before and after what roles hold above their guarantees changes: it may be reclaimed from them.
func (a *Allocator) noteReclaim(acc *account) {
	for role := acc; role != nil; role = role.parent {
		for kind := range role.guarantee {
			if g, named := role.guarantee.at(kind); named && usedOf(role.staying, kind) > g {
				a.epoch++
				return
			}
		}
	}
}

// setGuarantee changes what a role is guaranteed, and what it counts with above it.
func (a *Allocator) setGuarantee(role *account, to bound) {
	for _, of := range []counts{highOf, stayingOf} {
		var delta []int64
		for kind, v := range *of(role) {
			was, is := v, v
			if g, named := role.guarantee.at(kind); named {
				was = min(g, v)
			}
			if g, named := to.at(kind); named {
				is = min(g, v)
			}
			delta = append(delta, is-was)
		}
		a.raise(role.parent, of, delta, 1)
	}
	role.guarantee = to
	for x := role.parent; x != nil; x = x.parent {
		a.restore(x)
	}
}
