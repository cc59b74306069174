package taskdir

import (
	"fmt"
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Logins are what the variables hold that images of the task are to be asked for with, by where those are mounted, as in structs.Task.Logins. Its
// error is a *Waits as that of Texts. Nothing of them is written down, and the task does not see them.
func (sc *Scope) Logins() (map[string]*structs.ImageLogin, error) {
	out := sc.subject.Task.Logins()
	maps.DeleteFunc(out, func(_ string, l *structs.ImageLogin) bool { return l.Variable == "" })
	if len(out) == 0 {
		return nil, nil
	}
	sc.begin()
	for _, where := range slices.Sorted(maps.Keys(out)) {
		path, l := out[where].Variable, &structs.ImageLogin{}
		for item, value := range map[string]*string{structs.LoginUsername: &l.Username, structs.LoginPassword: &l.Password} {
			waits := len(sc.waits)
			found, err := sc.varFunc(path, item)
			if err != nil {
				return nil, err
			}
			if *value, _ = found.(string); *value == "" && len(sc.waits) == waits {
				sc.waitFor("variable "+path, fmt.Sprintf("its item %q is empty", item), true)
			}
		}
		out[where] = l
	}
	if len(sc.waits) > 0 {
		slices.Sort(sc.waits)
		return nil, waitsFor(structs.LoginKey, "it waits for", structs.Unavailable, sc.absent, slices.Compact(sc.waits))
	}
	return out, nil
}
