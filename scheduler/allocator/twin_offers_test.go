package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// twinOffers is what the contract remembers of offers.
type twinOffers struct {
	terms    map[string]*structs.OfferTerms // by framework and role
	streaks  map[string]int                 // by framework, role and node
	ignored  map[structs.FrameworkID]int
	hoarding map[structs.FrameworkID]bool
	owners   map[structs.FrameworkID]string
}

func newTwinOffers() twinOffers {
	return twinOffers{terms: map[string]*structs.OfferTerms{}, streaks: map[string]int{}, ignored: map[structs.FrameworkID]int{},
		hoarding: map[structs.FrameworkID]bool{}, owners: map[structs.FrameworkID]string{}}
}

func drawOffering(t *rapid.T, o *Options) {
	if rapid.IntRange(0, 3).Draw(t, "budget") == 0 {
		o.MostOffers = rapid.IntRange(1, 3).Draw(t, "most offers")
	}
	if rapid.IntRange(0, 3).Draw(t, "share budget") == 0 {
		o.MostOffered = structs.Milli(rapid.IntRange(1, 9).Draw(t, "most offered") * 100)
	}
	if rapid.IntRange(0, 3).Draw(t, "floor") == 0 {
		o.Smallest = drawSmallest(t)
	}
	o.Backoff = structs.Duration(rapid.IntRange(-1, 8).Draw(t, "backoff")) * 4e9
	if o.Backoff == 0 {
		o.Backoff = DefaultBackoff
	}
}

// changeOffering gives both other settings of offers.
func (w *twin) changeOffering(t *rapid.T, a *Allocator, now structs.Time) {
	o := Options{OfferTimeout: structs.Duration(rapid.SampledFrom([]int{0, 8, 60}).Draw(t, "offer timeout")) * 1e9}
	drawOffering(t, &o)
	a.SetOffering(o, now)
	w.options.OfferTimeout, w.options.Smallest, w.options.Backoff = o.OfferTimeout, o.Smallest, o.Backoff
	w.options.MostOffers, w.options.MostOffered = o.MostOffers, o.MostOffered
	for _, h := range w.offers {
		h.expires = min(h.expires, now.Add(cmp.Or(o.OfferTimeout, DefaultOfferTimeout)))
	}
}

// drawSmallest draws bundles of which an offer must have one.
func drawSmallest(t *rapid.T) (out []*structs.QuotaAmount) {
	for range rapid.IntRange(1, 2).Draw(t, "bundles") {
		cpu, memory := structs.Milli(500*rapid.IntRange(1, 4).Draw(t, "cpu")), structs.Bytes(rapid.IntRange(1, 4).Draw(t, "memory"))<<28
		b := &structs.QuotaAmount{}
		switch rapid.IntRange(0, 3).Draw(t, "bundle") {
		case 0:
			b.CPU = &cpu
		case 1:
			b.Memory = &memory
		case 2:
			b.CPU, b.Memory = &cpu, &memory
		default:
			b.Custom = map[string]structs.Milli{"gpus": 500}
		}
		out = append(out, b)
	}
	return out
}

func drawTerms(t *rapid.T) *structs.OfferTerms {
	terms := &structs.OfferTerms{Suppressed: rapid.IntRange(0, 3).Draw(t, "suppressed") == 0}
	if rapid.Bool().Draw(t, "own floor") {
		terms.Smallest = drawSmallest(t)
	}
	for range rapid.IntRange(0, 2).Draw(t, "groups") {
		var group []*structs.Constraint
		for range rapid.IntRange(1, 2).Draw(t, "constraints") {
			group = append(group, &structs.Constraint{Attribute: "${meta.rack}",
				Operator: rapid.SampledFrom([]string{"=", "!=", "regexp", "not_regexp"}).Draw(t, "operator"),
				Value:    rapid.SampledFrom([]string{"1", "2", "12"}).Draw(t, "value")})
		}
		terms.Where = append(terms.Where, group)
	}
	if rapid.IntRange(0, 3).Draw(t, "without") == 0 {
		terms.Without = []string{"gpus"}
	}
	terms.Revocable = rapid.Bool().Draw(t, "takes what is revocable")
	return terms
}

// shows reports whether the terms let a node be offered.
func (w *twin) shows(client string, spec *structs.Node) bool {
	t := w.terms[client]
	if t != nil && len(t.Without) > 0 && spec.Resources.Custom["gpus"] > 0 {
		return false
	}
	if t == nil || len(t.Where) == 0 {
		return true
	}
	return slices.ContainsFunc(t.Where, func(group []*structs.Constraint) bool {
		for _, c := range group {
			rack := spec.Meta["rack"]
			met := map[string]bool{"=": rack == c.Value, "!=": rack != c.Value, "regexp": regexp.MustCompile(c.Value).MatchString(rack),
				"not_regexp": !regexp.MustCompile(c.Value).MatchString(rack)}[c.Operator]
			if !met {
				return false
			}
		}
		return true
	})
}

// enough reports whether a bundle is at least one of the smallest.
func (w *twin) enough(client string, bundle structs.Resources) bool {
	smallest := w.options.Smallest
	if t := w.terms[client]; t != nil && len(t.Smallest) > 0 {
		smallest = t.Smallest
	}
	if len(smallest) == 0 {
		return bundle.CPU >= 10 || bundle.Memory >= 32<<20
	}
	return slices.ContainsFunc(smallest, func(b *structs.QuotaAmount) bool {
		for k, v := range named(b) {
			if kindsOf(bundle)[k] < v {
				return false
			}
		}
		return true
	})
}

// spent reports whether a framework has as much outstanding as it may.
func (w *twin) spent(f structs.FrameworkID) bool {
	n := 0
	for _, o := range w.offers {
		if o.framework == f {
			n++
		}
	}
	if n == 0 {
		return false
	}
	if most := w.options.MostOffers; most > 0 && n >= most {
		return true
	}
	total := map[string]int64{}
	for _, n := range w.nodes {
		if n.Status == structs.NodeReady {
			for k, v := range kindsOf(placement.Available(n)) {
				total[k] += v
			}
		}
	}
	for k, v := range w.used(func(h *twinHold) bool { return h.offer != "" && h.framework == f }) {
		if v > 0 && w.options.MostOffered > 0 && v*1000 >= total[k]*int64(w.options.MostOffered) {
			return true
		}
	}
	return false
}

func (w *twin) offerFor(f structs.FrameworkID, role string, now structs.Time) (structs.NodeID, structs.Resources, bool) {
	client := clientKey(f, role)
	if w.spent(f) {
		return "", structs.Resources{}, false
	}
	nodes, _ := w.books(role, "", nil)
	ids := slices.SortedFunc(maps.Keys(nodes), func(x, y structs.NodeID) int { return cmp.Compare(w.ord(x), w.ord(y)) })
	for _, id := range ids {
		n := nodes[id]
		if !n.Spec().Schedulable() || !w.shows(client, n.Spec()) || !w.roomFor(role, n) {
			continue
		}
		free := positive(n.Free()).Add(structs.OfPorts(rangesOf(w.portsOn(id, nil), func(x twinPort) bool { return !x.taken && under(role, x.role) })))
		var shown []string
		for _, name := range free.Sets[structs.VolumeSet] {
			if v := n.Spec().Volumes[name]; v.Offered && under(role, v.Role) {
				shown = append(shown, name)
			}
		}
		if free.Sets = nil; len(shown) > 0 {
			free.Sets = map[string][]string{structs.VolumeSet: shown}
		}
		most, nothing := w.cut(f, role, free)
		if nothing {
			return "", structs.Resources{}, false
		}
		for _, bundle := range []structs.Resources{twinSlice(free, most), most} {
			if w.enough(client, bundle) && !w.refused(client, false, id, bundle, now) {
				return id, bundle, true
			}
		}
	}
	return "", structs.Resources{}, false
}

// refused reports whether a filter covers a bundle of a node.
func (w *twin) refused(client string, slack bool, node structs.NodeID, bundle structs.Resources, now structs.Time) bool {
	return slices.ContainsFunc(w.filters, func(x twinFilter) bool {
		return x.client == client && x.slack == slack && x.node == node && x.until > now && x.refused.Fits(bundle)
	})
}

// roomFor reports whether a role is offered what is free on a node, as it sees it: it is not overdrawn, and no crumb beside an offer.
func (w *twin) roomFor(role string, n *placement.Node) bool {
	free := n.Free()
	if free.CPU < 0 || free.Memory < 0 {
		return false
	}
	free = positive(free)
	return !slices.ContainsFunc(w.roomOffers(), func(o *twinHold) bool { return o.node == n.ID }) ||
		w.reservedNodes(role)[n.ID] || free.CPU >= 10 && free.Memory >= 32<<20 && (n.Available().Ports == 0 || free.Ports > 0)
}

// cut gives what limits leave of a bundle, or that they leave nothing of any.
func (w *twin) cut(f structs.FrameworkID, role string, bundle structs.Resources) (structs.Resources, bool) {
	for _, r := range ancestors(role) {
		if w.shut(r) {
			return bundle, true
		}
		spec := w.roles[r]
		if spec == nil {
			continue
		}
		if spec.UserLimit > 0 && w.owners[f] == "" {
			return bundle, true
		}
		lefts := w.partsLeft(r, w.owners[f])
		used := w.used(func(h *twinHold) bool { return under(h.role, r) })
		for k, limit := range named(spec.Limited()) {
			left := max(0, limit-used[k])
			if more, is := lefts[k]; is {
				left = min(left, more)
			}
			lefts[k] = left
		}
		for k, left := range lefts {
			switch k {
			case "cpu":
				if left < 10 {
					return bundle, true
				}
				bundle.CPU = min(bundle.CPU, structs.Milli(left))
			case "memory":
				if left < 32<<20 {
					return bundle, true
				}
				bundle.Memory = min(bundle.Memory, structs.Bytes(left))
			case "disk":
				bundle.Disk = min(bundle.Disk, structs.Bytes(left))
			default:
				if over := int64(bundle.Custom[k]) - left; over > 0 {
					bundle = bundle.Sub(structs.Resources{Custom: map[string]structs.Milli{k: structs.Milli(over)}})
				}
			}
		}
	}
	return bundle, false
}

// twinSlice cuts CPU, memory, disk and ports alike.
func twinSlice(free, most structs.Resources) structs.Resources {
	part := big.NewRat(1, 1)
	for _, x := range [][2]int64{{int64(most.CPU), int64(free.CPU)}, {int64(most.Memory), int64(free.Memory)}, {int64(most.Disk), int64(free.Disk)}} {
		if x[1] > 0 {
			if r := big.NewRat(x[0], x[1]); r.Cmp(part) < 0 {
				part = r
			}
		}
	}
	if part.Cmp(big.NewRat(1, 1)) == 0 {
		return most
	}
	of := func(v int64) int64 {
		return new(big.Int).Div(new(big.Int).Mul(big.NewInt(v), part.Num()), part.Denom()).Int64()
	}
	most.CPU, most.Ports = structs.Milli(of(int64(free.CPU))), int(of(int64(free.Ports)))
	most.Memory, most.Disk = structs.Bytes(of(int64(free.Memory))>>20<<20), structs.Bytes(of(int64(free.Disk))>>20<<20)
	return most
}

// unused is what follows when nothing of an offer was used.
func (w *twin) unused(o *twinHold, asked structs.Duration, now structs.Time) {
	key := o.streak()
	w.streaks[key]++
	var wait structs.Duration
	for range w.streaks[key] - PatientRefusals {
		wait = max(0, min(max(2*wait, FirstBackoff), w.options.Backoff))
	}
	f := twinFilter{client: clientKey(o.framework, o.role), slack: !o.slack.IsZero(), node: o.node, refused: o.amount, until: now.Add(max(asked, wait))}
	if w.streaks[key] >= FirmRefusals && wait > 0 {
		f.firm = now.Add(wait)
	}
	w.filters = append(w.filters, f)
}

// ignore is what follows when an offer was not answered; heard, when one was.
func (w *twin) ignore(f structs.FrameworkID) {
	w.ignored[f]++
	if w.ignored[f] >= HoardAfter && !w.hoarding[f] {
		w.hoarding[f] = true
		held := 0
		for _, o := range w.offers {
			if o.framework == f {
				held++
			}
		}
		w.out = append(w.out, fmt.Sprintf("hoard %s false %d %d", f, w.ignored[f], held))
	}
}

func (w *twin) heard(f structs.FrameworkID) {
	w.ignored[f] = 0
	if w.hoarding[f] {
		w.hoarding[f] = false
		w.out = append(w.out, fmt.Sprintf("hoard %s true 0 0", f))
	}
}

func (w *twin) forgetNode(id structs.NodeID) {
	w.filters = slices.DeleteFunc(w.filters, func(x twinFilter) bool { return x.node == id })
	maps.DeleteFunc(w.streaks, func(key string, _ int) bool { return strings.HasSuffix(key, " "+string(id)) })
}

// leave ends the offers of a framework in a role.
func (w *twin) leave(f structs.FrameworkID, role string) {
	client := clientKey(f, role)
	w.filters = slices.DeleteFunc(w.filters, func(x twinFilter) bool { return x.client == client })
	maps.DeleteFunc(w.streaks, func(key string, _ int) bool { return strings.HasPrefix(key, client+" ") })
	delete(w.suppressed, client)
	delete(w.terms, client)
	for _, o := range slices.Backward(slices.Clone(w.offers)) {
		if o.framework == f && o.role == role {
			w.rescind(o)
		}
	}
}

// changeFramework has a framework come, change, or go.
func (w *twin) changeFramework(t *rapid.T, a *Allocator) {
	f := rapid.SampledFrom(offerers).Draw(t, "framework")
	if rapid.IntRange(0, 4).Draw(t, "disconnect") == 0 {
		for _, role := range w.frameworks[f] {
			w.leave(f, role)
		}
		w.heard(f)
		delete(w.frameworks, f)
		a.Disconnect(f)
		return
	}
	spec := &structs.Framework{ID: f, Terms: map[string]*structs.OfferTerms{},
		Roles: rapid.SliceOfNDistinct(rapid.SampledFrom(testRoles), 0, 2, func(s string) string { return s }).Draw(t, "roles")}
	spec.Principal = rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(t, "principal")
	w.owners[f] = spec.Principal
	old := w.frameworks[f]
	for _, role := range spec.Roles {
		client := clientKey(f, role)
		delete(w.terms, client)
		was := w.suppressed[client]
		w.suppressed[client] = false
		if rapid.Bool().Draw(t, "terms") {
			spec.Terms[role] = drawTerms(t)
			w.terms[client], w.suppressed[client] = spec.Terms[role], spec.Terms[role].Suppressed
		}
		if was && !w.suppressed[client] {
			w.endFilters(func(x twinFilter) bool { return x.client == client })
		}
	}
	for _, role := range old {
		if !slices.Contains(spec.Roles, role) {
			w.leave(f, role)
		}
	}
	w.frameworks[f] = spec.Roles
	if rapid.IntRange(0, 3).Draw(t, "resubscribe") > 0 {
		if err := a.SetFramework(spec); err != nil {
			t.Fatal(err)
		}
		return
	}
	w.offers = slices.DeleteFunc(w.offers, func(o *twinHold) bool { return o.framework == f })
	for _, x := range w.inverse {
		if x.framework == f {
			x.asked = false
		}
	}
	if err := a.Resubscribe(spec); err != nil {
		t.Fatal(err)
	}
}

// endFilters ends filters, but for what is firm of them.
func (w *twin) endFilters(want func(twinFilter) bool) {
	var rest []twinFilter
	for _, x := range w.filters {
		if want(x) {
			if x.firm <= w.now {
				continue
			}
			x.until = min(x.until, x.firm)
		}
		rest = append(rest, x)
	}
	w.filters = rest
}

// suppressOrRevive also has frameworks say what they want.
func (w *twin) suppressOrRevive(t *rapid.T, a *Allocator) {
	f := rapid.SampledFrom(offerers).Draw(t, "framework")
	if w.frameworks[f] == nil {
		return
	}
	of := func(x twinFilter) bool {
		return slices.ContainsFunc(w.frameworks[f], func(role string) bool { return x.client == clientKey(f, role) })
	}
	if w.answerInverse(t, a, f) {
		return
	}
	var err error
	switch rapid.IntRange(0, 3).Draw(t, "which") {
	case 0:
		for _, role := range w.frameworks[f] {
			w.suppressed[clientKey(f, role)] = true
		}
		err = a.Suppress(f)
	case 1:
		want := Want{Node: drawID(t), Resources: structs.Resources{CPU: 500}}
		if rapid.Bool().Draw(t, "anywhere") {
			want.Node = ""
		}
		w.endFilters(func(x twinFilter) bool {
			if !of(x) || want.Node != "" && want.Node != x.node {
				return false
			}
			role := strings.TrimPrefix(x.client, string(f)+" ")
			if x.slack {
				return w.leftOf(x.node).CPU >= 500
			}
			nodes, _ := w.books(role, "", nil)
			return w.roomFor(role, nodes[x.node]) && nodes[x.node].Free().CPU >= 500
		})
		err = a.Demand(f, []Want{want})
	default:
		for _, role := range w.frameworks[f] {
			w.suppressed[clientKey(f, role)] = false
		}
		w.endFilters(of)
		for _, x := range w.inverse {
			if x.framework == f {
				x.again = 0
			}
		}
		err = a.Revive(f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// answerOffer answers one, or all of its framework on its node.
func (w *twin) answerOffer(t *rapid.T, a *Allocator, filter Filter, now structs.Time) {
	live := slices.DeleteFunc(slices.Clone(w.offers), func(o *twinHold) bool { return o.expires <= now })
	if len(live) == 0 {
		return
	}
	o := rapid.SampledFrom(live).Draw(t, "offer")
	half := structs.Resources{CPU: o.amount.CPU / 2, Memory: o.amount.Memory / 2}
	of := tag{owner: w.owners[o.framework]}
	launched, reserved := w.drawPorts(t, o)
	before := rapid.Bool().Draw(t, "reserves before")
	if !before { // what is used by then cannot be reserved
		reserved = slices.DeleteFunc(reserved, func(p int) bool { return slices.Contains(launched, p) })
	}
	op, ordered := Operation{Job: "ext", Group: "g", Priority: structs.DefaultPriority, Resources: half}, structs.BatchBand
	if !o.slack.IsZero() {
		ordered = structs.BestEffort
		op.Priority.Band, op.Slack = ordered, half.Slack()
	}
	for _, p := range launched {
		op.Ports = append(op.Ports, structs.AssignedPort{Port: p})
	}
	op.Resources.Ports = len(op.Ports)
	answer := rapid.IntRange(0, 3).Draw(t, "answer")
	if answer < 2 && (w.tooMuch(o.role, half) || of.owner == "" && w.limitsUsers(o.role) || !w.withinParts(&twinRequest{Request: Request{Role: o.role, Owner: of.owner}}, half)) {
		if _, err := a.Accept(o.framework, []structs.OfferID{o.offer}, []Operation{op}, filter, now); err == nil {
			t.Fatalf("%s: max_running, max_ask or user_limit did not hold", o.role)
		}
		return
	}
	gone := func(p *twinHold) bool { return p == o }
	switch answer {
	case 0, 1:
		ops := []Operation{op}
		reserves := o.slack.IsZero() && rapid.IntRange(0, 2).Draw(t, "reserves") == 0
		if reserves {
			ops = append(ops, Operation{Priority: structs.DefaultPriority, Resources: o.amount.Sub(half).Least(half).Add(structs.OfPorts(portsOf(reserved))), Reserves: true})
		}
		if before {
			slices.Reverse(ops)
		}
		places, err := a.Accept(o.framework, []structs.OfferID{o.offer}, ops, filter, now)
		if err != nil {
			t.Fatal(err)
		}
		w.lastID++
		if places[0].ID != w.lastID {
			t.Fatalf("decision %d instead of %d", places[0].ID, w.lastID)
		}
		if half.IsZero() {
			ordered = structs.BatchBand // it uses nothing of the slack
		}
		w.lastServed[ordered] = w.now
		w.offers = slices.DeleteFunc(w.offers, gone)
		w.holds = append(w.holds, &twinHold{node: o.node, framework: o.framework, role: o.role, amount: op.Resources, ports: op.Ports, job: "ext", group: "g", band: op.Priority.Band,
			decision: w.lastID, slack: op.Slack, tag: of})
		w.heard(o.framework)
		delete(w.streaks, o.streak())
		refused := o.amount.Sub(half).Sub(o.asOffered(launched))
		if kept := refused.Least(half.Add(o.asOffered(reserved))); reserves && !kept.IsZero() {
			w.lastID++
			h := &twinHold{node: o.node, framework: o.framework, role: o.role, amount: refused, band: structs.BatchBand, decision: w.lastID}
			for _, p := range reserved {
				if !slices.Contains(launched, p) && !structs.HasIndex(o.amount.PortRanges(), p) {
					h.ports = append(h.ports, structs.AssignedPort{Port: p})
				}
			}
			w.holds = append(w.holds, h)
			if len(places) != 2 || places[1].ID != w.lastID || !places[1].Keeps {
				t.Fatalf("what is reserved is held by %+v", places[1:])
			}
			refused = refused.Sub(kept)
		} else if len(places) != 1 {
			t.Fatalf("%d decisions", len(places))
		}
		if !refused.IsZero() {
			w.filters = append(w.filters, twinFilter{client: clientKey(o.framework, o.role), slack: !o.slack.IsZero(), node: o.node, refused: refused,
				until: now.Add(filter.Refuse)})
		}
		return
	case 2:
		if _, err := a.Accept(o.framework, []structs.OfferID{o.offer}, nil, filter, now); err != nil {
			t.Fatal(err)
		}
	default:
		if err := a.Decline(o.framework, []structs.OfferID{o.offer}, filter, now); err != nil {
			t.Fatal(err)
		}
	}
	w.heard(o.framework)
	w.unused(o, filter.Refuse, now)
	w.offers = slices.DeleteFunc(w.offers, gone)
}

// namePorts asks for the ports of offers, of which each has as many as it says: the lowest that are not reserved, held, or named of
// another one.
func (w *twin) namePorts(t *rapid.T, a *Allocator) {
	for _, o := range w.roomOffers() {
		spec := w.nodes[o.node]
		if spec == nil {
			continue
		}
		if o.named == nil {
			others := w.portsOn(o.node, nil)
			for _, h := range w.held() {
				for _, p := range h.ports {
					if h.node == o.node {
						others[p.Port] = twinPort{}
					}
				}
				for _, p := range inRanges(h.named) {
					if h.node == o.node {
						others[p] = twinPort{}
					}
				}
			}
			for p := int(spec.PortRange.First); p <= int(spec.PortRange.Last) && structs.CountIndexes(o.named) < o.amount.Ports; p++ {
				if _, is := others[p]; !is {
					o.named = structs.WithIndex(o.named, p)
				}
			}
		}
		if got := a.PortsOf(o.offer); !slices.Equal(got, o.named) {
			t.Fatalf("offer %s of %s has ports %v instead of %v", o.offer, o.node, got, o.named)
		}
	}
}

// drawPorts draws which ports of an offer are used for work, and which are reserved.
func (w *twin) drawPorts(t *rapid.T, o *twinHold) (launched, reserved []int) {
	free := slices.DeleteFunc(append(inRanges(o.named), inRanges(o.amount.PortRanges())...), func(p int) bool {
		return slices.ContainsFunc(w.holds, func(h *twinHold) bool {
			return h.node == o.node && slices.ContainsFunc(h.ports, func(q structs.AssignedPort) bool { return q.Port == p })
		})
	})
	if !o.slack.IsZero() || len(free) == 0 {
		return nil, nil
	}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(free), 0, min(2, len(free)), rapid.ID[int])
	launched, reserved = some.Draw(t, "launched ports"), some.Draw(t, "reserved ports")
	slices.Sort(launched)
	slices.Sort(reserved)
	return launched, reserved
}

// asOffered is an amount of ports of an offer: of its reserved ones the numbers, and how many the others are.
func (o *twinHold) asOffered(ports []int) (r structs.Resources) {
	for _, p := range ports {
		if structs.HasIndex(o.amount.PortRanges(), p) {
			r = r.Add(structs.OfPorts(portsOf([]int{p})))
		} else {
			r.Ports++
		}
	}
	return r
}

func portsOf(ports []int) (out []structs.Range) {
	for _, p := range ports {
		out = structs.WithIndex(out, p)
	}
	return out
}

func inRanges(all []structs.Range) (out []int) {
	for _, r := range all {
		for p := r.First; p <= r.Last; p++ {
			out = append(out, int(p))
		}
	}
	return out
}

// TestOffersEqualContract lives lives in which frameworks decline, ignore and use offers most of the time, long enough for
// back-off and hoarding.
func TestOffersEqualContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwin()
		drawOffering(t, &w.options)
		w.keepAfter = 12e9
		w.options.KeepAfter = w.keepAfter
		a := New(w.options)
		w.ord = func(id structs.NodeID) int { return a.nodes[id].Ord }
		now := structs.Time(1e9)
		for i := range 2 {
			id := structs.NodeID(fmt.Sprintf("n%d", i))
			spec := drawSpec(t, id)
			w.setNode(spec)
			a.SetNode(spec)
		}
		settle := func() {
			w.forgetGroups()
			w.comeAndGo()
		}
		settle()
		w.changeFramework(t, a)
		settle()
		w.changeFramework(t, a)
		settle()
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 24).Draw(t, "rare") {
			case 0:
				w.changeFramework(t, a)
			case 1, 2:
				w.suppressOrRevive(t, a)
			case 4:
				w.changeOffering(t, a, now)
			case 3:
				input(t, a, w, uint64(step), now)
			}
			settle()
			for range rapid.IntRange(0, 3).Draw(t, "answers") {
				w.answerOffer(t, a, Filter{structs.Duration(rapid.IntRange(0, 1).Draw(t, "refuse")) * 4e9}, now)
				settle()
			}
			now += structs.Time(rapid.SampledFrom([]int{0, 1, 4, 31}).Draw(t, "time")) * 1e9
			got, want := texts(a.Step(now, 0)), w.step(now)
			if !slices.Equal(got, want) {
				t.Fatalf("decided\n  %s\ncontract\n  %s\n%s", strings.Join(got, "\n  "), strings.Join(want, "\n  "), a.Describe())
			}
			audit(t, a, w)
		}
	})
}
