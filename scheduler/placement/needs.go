package placement

import (
	"fmt"
	"slices"

	"github.com/proffer/proffer/structs"
)

// compileNeeds adds what the resources of a task ask of its driver on the node: whole cores and bounds of disk use are not possible
// everywhere, and a node says where they are. Whole cores need no dimension of their own: a node offers them only where it has no more
// CPU than cores, and what is reserved of its CPU never adds up to more than that, so the node finds as many cores as it was given tasks
// for.
func (a *Ask) compileNeeds(driver string, t *structs.Task, problems *structs.Problems) {
	if t.Resources == nil {
		return
	}
	need := func(what string) {
		cond, err := compileCondition(fmt.Sprintf("${attr.driver.%s.%s}", driver, what), "is_set", "")
		if err != nil {
			problems.Add("group."+a.Group+".task."+t.Name+".driver", "%s", err)
			return
		}
		if !slices.Contains(a.needs, cond.text) {
			a.needs = append(a.needs, cond.text)
			a.constraints = append(a.constraints, cond)
		}
	}
	if t.Resources.Cores > 0 {
		a.Whole = true
		need("cores")
	}
	if t.Resources.IO != nil {
		need("io")
	}
}
