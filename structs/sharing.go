package structs

// checkOwner wants a name as systems have them for their users.
func checkOwner(p *Problems, at, owner string) {
	if len(owner) > 128 {
		p.Add(at, "it is longer than 128 bytes")
	}
	for i := range len(owner) {
		if owner[i] <= ' ' || owner[i] > '~' {
			p.Add(at, "%q is not the name of a user", owner).Advise("up to 128 letters, digits and signs, no spaces")
			return
		}
	}
}

// sharingProblems are those of how a role is shared inside.
func (r *Role) sharingProblems(p *Problems) {
	if r.Sorter != "" && !ValidName(r.Sorter) {
		p.Add("sorter", "%q is not a name", r.Sorter).Advise("drf, random, fifo, or a policy that was compiled in")
	}
	for _, part := range []struct {
		name  string
		share Milli
	}{{"user_limit", r.UserLimit}, {"max_framework_share", r.MaxFrameworkShare}} {
		if part.share < 0 || part.share > 1000 {
			p.Add(part.name, "%s is out of range (0.001 to 1; 0: no bound)", part.share)
		}
	}
}
