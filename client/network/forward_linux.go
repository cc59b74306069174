package network

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// A Docker engine has iptables drop what is passed on, unless a rule of its chains accepts it, and an accept of our own table does not
// outweigh that. Its chain for the rules of others is DOCKER-USER: it is never flushed by the engine, and kept when that is restarted.
// There everything from the bridge and to it is accepted. What may pass is for our own table to say: what that refuses is refused.
const (
	userChain   = "DOCKER-USER"
	returns     = "-A " + userChain + " -j RETURN" // how older engines end the chain
	iptablesMax = 10 * time.Second
)

// tool is the program for the rules of an address family.
type tool struct{ path string }

// tools are those of the families that the bridge has. Without the program an engine has no rules either.
func (n *Networks) tools() (all []tool) {
	names := []string{"iptables"}
	if n.opts.Subnet6.IsValid() {
		names = append(names, "ip6tables")
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			all = append(all, tool{path})
		}
	}
	return all
}

// run waits for others who change rules. A chain that is not there is an error, too.
func (t tool) run(ctx context.Context, args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, iptablesMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.path, append([]string{"-w", "5"}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	raw, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %.300s", t.path, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return string(raw), nil
}

// rulesOf lists a chain as it would be made again; nil: there is none.
func (t tool) rulesOf(ctx context.Context, chain string) []string {
	out, err := t.run(ctx, "-S", chain)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// directions are the matches of our two rules, with the comment by which people know them.
func (n *Networks) directions() [2][]string {
	rule := func(flag string) []string {
		return []string{flag, n.opts.Bridge, "-m", "comment", "--comment", "proffer", "-j", "ACCEPT"}
	}
	return [2][]string{rule("-i"), rule("-o")}
}

// admit sees to it that the rules of an engine let the bridge's packets pass, behind what people put into that chain. Where it is iptables
// alone that drops them, and no engine, the node says so: that is what somebody wants, or has to change.
func (n *Networks) admit(ctx context.Context) error {
	n.admitting.Lock()
	defer n.admitting.Unlock()
	var problems []string
	for _, t := range n.tools() {
		rules := t.rulesOf(ctx, userChain)
		if rules == nil {
			if slices.Contains(t.rulesOf(ctx, "FORWARD"), "-P FORWARD DROP") {
				problems = append(problems, t.path)
			}
			continue
		}
		have := len(rules) - 1 // the first line makes the chain
		for _, d := range n.directions() {
			if slices.Contains(rules, "-A "+userChain+" "+strings.Join(d, " ")) {
				continue
			}
			where := []string{"-A", userChain}
			if rules[len(rules)-1] == returns {
				where = []string{"-I", userChain, fmt.Sprint(have)}
			}
			if _, err := t.run(ctx, append(where, d...)...); err != nil {
				return structs.Errorf(structs.Unavailable, "bridge "+n.opts.Bridge, "Docker's firewall does not let its packets pass: %w", err)
			}
			have++
			n.step("admitted")
		}
	}
	said := ""
	if len(problems) > 0 {
		said = fmt.Sprintf("no: %s has the policy DROP for FORWARD, and may drop what goes to %s or comes from it", strings.Join(problems, " and "), n.opts.Bridge)
	}
	if was := n.forward.Swap(&said); said != "" && (was == nil || *was != said) {
		n.log.Warn("a firewall may drop the packets of tasks", "why", said)
	}
	return nil
}

// expel takes the rules back.
func (n *Networks) expel(ctx context.Context) error {
	n.admitting.Lock()
	defer n.admitting.Unlock()
	for _, t := range n.tools() {
		rules := t.rulesOf(ctx, userChain)
		for _, d := range n.directions() {
			if !slices.Contains(rules, "-A "+userChain+" "+strings.Join(d, " ")) {
				continue
			}
			if _, err := t.run(ctx, append([]string{"-D", userChain}, d...)...); err != nil {
				return err
			}
		}
	}
	none := ""
	n.forward.Store(&none)
	return nil
}
