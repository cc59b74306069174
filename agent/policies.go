package agent

import "github.com/proffer/proffer/scheduler/allocator"

// policies are the allocation policies of this build beside those that there always are, each by the name that server.sorter
// and the sorter of a role call it. To compile another one in, add it here; it needs an allocator.Policy and nothing else.
var policies = map[string]allocator.Policy{}
