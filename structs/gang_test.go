package structs

import "testing"

func TestValidateGang(t *testing.T) {
	count := func(n int) func(*Job) { return func(j *Job) { j.Groups[0].Count = &n } }
	for _, x := range []struct {
		name string
		edit func(*Job)
		want string // "" is valid
	}{
		{"valid", func(*Job) {}, ""},
		{"within", func(j *Job) { j.Gang.Within = "${meta.rack}" }, ""},
		{"the most", count(MaxGang), ""},
		{"service", func(j *Job) { j.Type = ServiceJob }, `gang: only the allocations of a batch job can be a gang (set type = "batch", or leave the gang block out)`},
		{"bare", func(j *Job) { j.Gang.Within = "meta.rack" }, `gang.within: "meta.rack" is not an attribute of a node (write "${meta.rack}")`},
		{"too many", count(MaxGang + 1), `gang: 513 allocations are more than the 512 that can be placed at once (make fewer and larger ones, or several jobs)`},
		{"ports", func(j *Job) { count(MaxGang)(j); j.Groups[0].Tasks[0].Resources.Ports = 2 }, `gang: 512 allocations with these names and ports take 593KiB, and what is placed at once 480KiB (at most 414 of them)`},
	} {
		j := validJob()
		j.Type, j.Gang = BatchJob, &Gang{}
		x.edit(j)
		got := ""
		if err := j.Validate(nil); err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("%s: %s", x.name, got)
		}
	}
}
