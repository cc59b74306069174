package allocator

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
	"pgregory.net/rapid"
)

// A user of the divisible case has one kind of task and as many of them as there is room for. Amounts are small integers of
// one unit each; the one node has some hundreds of each, so that a task is a small part of the whole, and only one task of
// each user stands between what is decided and what DRF is proven to do where resources can be divided at will
// (Ghodsi et al., NSDI 2011).
type drfUser struct {
	weight int64    // thousandths
	task   [3]int64 // cpu, memory, gpus
}

type drfCase struct {
	total [3]int64
	users []drfUser
}

func drawCase(t *rapid.T) drfCase {
	var c drfCase
	for k := range c.total {
		c.total[k] = rapid.Int64Range(200, 600).Draw(t, "total")
	}
	for range rapid.IntRange(2, 5).Draw(t, "users") {
		c.users = append(c.users, drfUser{weight: 500 * rapid.Int64Range(1, 6).Draw(t, "weight"), task: drawTask(t)})
	}
	return c
}

func drawTask(t *rapid.T) (task [3]int64) {
	for k := range task {
		task[k] = rapid.Int64Range(0, 5).Draw(t, "amount")
	}
	if task == [3]int64{} {
		task[0] = 1
	}
	return task
}

// divide returns how many tasks each user runs in the end.
func (c drfCase) divide(t rapid.TB, o Options) []int64 {
	a := New(o)
	const unit = 1 << 20
	resources := func(r [3]int64) structs.Resources {
		out := structs.Resources{CPU: structs.Milli(r[0]), Memory: structs.Bytes(r[1] * unit)}
		if r[2] > 0 {
			out.Custom = map[string]structs.Milli{"gpus": structs.Milli(r[2])}
		}
		return out
	}
	node := &structs.Node{ID: "n", Name: "n", Status: structs.NodeReady, Eligible: true, Resources: resources(c.total)}
	a.SetNode(node)
	for i, u := range c.users {
		name := fmt.Sprintf("u%d", i)
		if err := a.SetRole(&structs.Role{Name: name, Weight: structs.Milli(u.weight)}); err != nil {
			t.Fatal(err)
		}
		r := &Request{ID: name, Framework: "f", Role: name, Seq: 1, Ask: placement.Plain(name, "g", resources(u.task)), Slots: slotsOf(700)}
		if err := a.SetRequest(r); err != nil {
			t.Fatal(err)
		}
	}
	runs := make([]int64, len(c.users))
	for _, d := range a.Step(1, 0) {
		if d.Place == nil {
			t.Fatalf("decided %+v", d)
		}
		var i int
		if _, err := fmt.Sscanf(d.Place.Role, "u%d", &i); err != nil {
			t.Fatal(err)
		}
		runs[i]++
	}
	return runs
}

func rat(a, b int64) *big.Rat { return big.NewRat(a, b) }

// part returns the dominant share of one task of a user, and of which resource.
func (c drfCase) part(task [3]int64) (share *big.Rat, kind int) {
	share = new(big.Rat)
	for k, v := range task {
		if s := rat(v, c.total[k]); s.Cmp(share) > 0 {
			share, kind = s, k
		}
	}
	return share, kind
}

// level is the weighted dominant share of so many tasks of a user.
func (c drfCase) level(i int, tasks int64) *big.Rat {
	share, _ := c.part(c.users[i].task)
	return new(big.Rat).Mul(share, rat(tasks*1000, c.users[i].weight))
}

// slack is how much the levels of users can differ because tasks are not divisible: one task of each.
func (c drfCase) slack() *big.Rat {
	sum := new(big.Rat)
	for i := range c.users {
		sum.Add(sum, c.level(i, 1))
	}
	return sum
}

// supports returns how many of a user's own tasks a bundle would run.
func supports(bundle [3]*big.Rat, task [3]int64) *big.Rat {
	var least *big.Rat
	for k, v := range task {
		if v > 0 {
			if n := new(big.Rat).Quo(bundle[k], rat(v, 1)); least == nil || n.Cmp(least) < 0 {
				least = n
			}
		}
	}
	return least
}

func bundleOf(task [3]int64, tasks, by *big.Rat) (out [3]*big.Rat) {
	for k, v := range task {
		out[k] = new(big.Rat).Mul(new(big.Rat).Mul(rat(v, 1), tasks), by)
	}
	return out
}

// broken returns which of the properties a division does not have; lies are tried in turn, by one user each.
func (c drfCase) broken(t rapid.TB, o Options, lies [][3]int64) (out []string) {
	runs := c.divide(t, o)
	fails := func(property, format string, args ...any) {
		out = append(out, property+": "+fmt.Sprintf(format, args...))
	}
	var free [3]int64
	copy(free[:], c.total[:])
	var weights int64
	for i, u := range c.users {
		weights += u.weight
		for k, v := range u.task {
			free[k] -= v * runs[i]
		}
	}
	for k, v := range free {
		if v < 0 {
			fails("capacity", "%d of %d are left of resource %d", v, c.total[k], k)
		}
	}
	for i, u := range c.users {
		// Pareto efficiency: nobody can run one more task without taking something from somebody.
		fits := true
		for k, v := range u.task {
			fits = fits && v <= free[k]
		}
		if fits {
			fails("pareto", "user %d could run one more beside %v", i, runs)
		}
		// Sharing incentive: at least what its part of every resource would do, but for the tasks in progress. When user i
		// is stopped by a resource that is used up, every other user's level is at most one task above its own.
		fair := new(big.Rat).Sub(rat(1000, weights), new(big.Rat).Mul(c.slackOf(), rat(1000, weights)))
		if c.level(i, runs[i]).Cmp(fair) < 0 {
			fails("sharing incentive", "user %d has level %s, not %s, of %v", i, c.level(i, runs[i]).FloatString(4), fair.FloatString(4), runs)
		}
		// Envy-freeness: nobody could run more with what another one has for the same weight.
		for j, v := range c.users {
			if i == j {
				continue
			}
			theirs := supports(bundleOf(v.task, rat(runs[j], 1), rat(u.weight, v.weight)), u.task)
			most := new(big.Rat).Add(rat(runs[i], 1), c.envy(i, j))
			if theirs.Cmp(most) > 0 {
				fails("envy-freeness", "user %d would run %s with what user %d has, not %s, of %v", i, theirs.FloatString(2), j, most.FloatString(2), runs)
			}
		}
	}
	for n, lie := range lies {
		// Strategy-proofness: asking for something else than it needs gives nobody more of what it needs.
		i := n % len(c.users)
		told := drfCase{c.total, slices.Clone(c.users)}
		told.users[i].task = lie
		got := supports(bundleOf(lie, rat(told.divide(t, o)[i], 1), rat(1, 1)), c.users[i].task)
		one, _ := c.part(c.users[i].task)
		step, _ := c.part(lie)
		doubt := new(big.Rat).Add(c.slack(), new(big.Rat).Mul(step, rat(1000, c.users[i].weight)))
		doubt.Mul(doubt, rat(2*c.users[i].weight, 1000))
		most := new(big.Rat).Add(rat(runs[i]+1, 1), doubt.Quo(doubt, one))
		if got.Cmp(most) > 0 {
			fails("strategy-proofness", "user %d runs %s when it asks for %v, %d otherwise", i, got.FloatString(2), lie, runs[i])
		}
	}
	return out
}

// slackOf is the sum of the shares of one task of each user.
func (c drfCase) slackOf() *big.Rat {
	sum := new(big.Rat)
	for _, u := range c.users {
		share, _ := c.part(u.task)
		sum.Add(sum, share)
	}
	return sum
}

// envy is by how many tasks i may fall short of what j has for the same weight. When i is stopped by a resource, j is at
// most one task ahead. After that j gets less of this resource than one task of i needs, but what goes with that.
func (c drfCase) envy(i, j int) *big.Rat {
	u, v := c.users[i], c.users[j]
	mine, kind := c.part(u.task)
	theirs, _ := c.part(v.task)
	sum := new(big.Rat).Quo(theirs, mine)
	var after *big.Rat
	for k, need := range u.task {
		if need > 0 && v.task[k] > 0 {
			if n := rat(need*v.task[kind], v.task[k]*u.task[kind]); after == nil || n.Cmp(after) > 0 {
				after = n
			}
		}
	}
	if after != nil {
		sum.Add(sum, after)
	}
	return sum.Mul(sum, rat(u.weight, v.weight))
}

// TestDominantResourceFairness: the four properties that DRF is proven to have, in the flat tree, with weights.
func TestDominantResourceFairness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t)
		lies := [][3]int64{drawTask(t), drawTask(t)}
		if broken := c.broken(t, Options{}, lies); broken != nil {
			t.Fatalf("%+v\n%s", c, strings.Join(broken, "\n"))
		}
	})
}

// byRatio serves whoever has the least cores for its memory.
type byRatio struct{}

func (byRatio) Share(used, total []int64, weight structs.Milli) Share {
	if len(used) < 2 {
		return Share{Den: 1, Weight: 1}
	}
	return Share{Num: used[0], Den: used[1], Weight: 1}
}

// TestThePropertiesTellPoliciesApart: the same checks find a policy out that does not have the properties.
func TestThePropertiesTellPoliciesApart(t *testing.T) {
	o := Options{Policies: map[string]Policy{"ratio": byRatio{}}, Sorter: "ratio"}
	c := drfCase{total: [3]int64{400, 400, 400}, users: []drfUser{{1000, [3]int64{1, 1, 0}}, {1000, [3]int64{1, 2, 0}}}}
	found := map[string]bool{}
	for _, b := range c.broken(t, o, [][3]int64{{1, 3, 0}, {1, 3, 0}}) {
		name, _, _ := strings.Cut(b, ":")
		found[name] = true
	}
	for _, property := range []string{"sharing incentive", "envy-freeness", "strategy-proofness"} {
		if !found[property] {
			t.Errorf("a policy that goes by ratios passes for %s: %v", property, found)
		}
	}
}
