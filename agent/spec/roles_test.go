package spec

import (
	"strings"
	"testing"
)

// Numbers that cannot be kept exactly are refused where they stand.
func TestBadNumbersOfARole(t *testing.T) {
	quota := func(text string) string {
		return "role \"a\" {\n  quota {\n    limit {\n      " + text + "\n    }\n  }\n}\n"
	}
	for name, x := range map[string]struct{ src, want string }{
		"negative":                 {quota("cpu = -1"), "r.hcl:4: quota.limit.cpu"},
		"a fourth decimal":         {quota("cpu = 1.0005"), "more than three decimals"},
		"a fourth decimal in text": {quota(`cpu = "0.0001"`), "more than three decimals"},
		"overflow":                 {quota("cpu = 1000000000001"), "out of range"},
		"much too large":           {quota("cpu = 1e300"), "r.hcl:4: quota.limit.cpu"},
		"not a number":             {quota(`cpu = "NaN"`), "r.hcl:4: quota.limit.cpu"},
		"infinite":                 {quota(`cpu = "Inf"`), "r.hcl:4: quota.limit.cpu"},
		"hexadecimal":              {quota(`cpu = "0x10"`), "r.hcl:4: quota.limit.cpu"},
		"negative memory":          {quota(`memory = "-1GiB"`), "r.hcl:4: quota.limit.memory"},
		"too much memory":          {quota(`memory = "1025PiB"`), "out of range"},
		"memory not a number":      {quota(`memory = "NaNGiB"`), "r.hcl:4: quota.limit.memory"},
		"gpus not a number":        {quota("custom {\n gpus = \"NaN\"\n}"), "gpus"},
		"weight not a number":      {"role \"a\" {\n  weight = \"NaN\"\n}\n", "r.hcl:2: weight"},
		"user limit above 1":       {"role \"a\" {\n  user_limit = 1.5\n}\n", "r.hcl:2: user_limit: 1.5 is out of range (0.001 to 1; 0: no bound)"},
		"user limit with decimals": {"role \"a\" {\n  user_limit = 0.3333\n}\n", "more than three decimals"},
		"JSON NaN":                 {`{"name": "a", "weight": NaN}`, "r.hcl"},
		"JSON negative":            {`{"name": "a", "weight": -1}`, "negative"},
		"JSON overflow":            {`{"name": "a", "quota": {"limit": {"cpu": 1e300}}}`, "cpu"},
		"a cycle":                  {"role \"a/../a\" {\n}\n", `"a/../a" is not a role`},
	} {
		r, err := ParseRole("r.hcl", []byte(x.src))
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q (%+v)", name, err, x.want, r)
		}
	}
	r, err := ParseRole("r.hcl", []byte("role \"a\" {\n  sorter = \"fifo\"\n  user_limit = 0.25\n  max_framework_share = 0.1\n  share_by_owner = true\n}\n"))
	if err != nil || r.Sorter != "fifo" || r.UserLimit != 250 || r.MaxFrameworkShare != 100 || !r.ShareByOwner {
		t.Errorf("%+v, %v", r, err)
	}
}
