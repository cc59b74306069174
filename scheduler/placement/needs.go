package placement

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// compileNeeds adds what a task asks of its driver on the node: its seccomp profile, and what its resources ask, for whole cores and bounds
// of disk use are not possible everywhere, and a node says where they are. Whole cores need no dimension of their own: a node offers them
// only where it has no more CPU than cores, and what is reserved of its CPU never adds up to more than that, so the node finds as many
// cores as it was given tasks for.
func (a *Ask) compileNeeds(driver string, t *structs.Task, problems *structs.Problems) {
	need := func(what, profile string) {
		cond, err := compileCondition(fmt.Sprintf("${attr.driver.%s.%s}", driver, what), "is_set", "")
		if err != nil {
			problems.Add("group."+a.Group+".task."+t.Name+".driver", "%s", err)
			return
		}
		if !slices.Contains(a.needs, cond.text) {
			a.needs = append(a.needs, cond.text)
			if profile != "" {
				cond.profile, cond.text = true, fmt.Sprintf("%q of the %s driver", profile, driver)
			}
			a.constraints = append(a.constraints, cond)
		}
	}
	if profile := t.SeccompProfile(); profile != "" {
		need(structs.AttrSeccomp+profile, profile)
	}
	if t.Resources == nil {
		return
	}
	if t.Resources.Cores > 0 {
		a.Whole = true
		need("cores", "")
	}
	if t.Resources.IO != nil {
		need("io", "")
	}
}
