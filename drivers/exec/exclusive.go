package exec

// Exclusive says in a fingerprint what a supervisor can do for tasks that ask for whole cores and for bounds of their disk use, and whether
// their ports are theirs alone. Placement looks for the attributes cores and io.
func Exclusive(f *Features, attrs map[string]string) {
	for name, why := range map[string]string{"cores": f.NoCores, "io": f.NoIO, "ports.guard": f.NoGuard} {
		switch {
		case f.Cgroups == 0:
		case why == "":
			attrs[name] = "1"
		default:
			attrs[name+".missing"] = why
		}
	}
}
