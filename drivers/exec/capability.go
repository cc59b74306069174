package exec

import "strings"

// capabilities that a job may ask for with cap_add, and their numbers. The others would let a task leave its isolation
// or take part in the administration of the host.
var capabilities = map[string]int{
	"chown": 0, "dac_override": 1, "fowner": 3, "fsetid": 4, "kill": 5, "setgid": 6, "setuid": 7, "setpcap": 8,
	"net_bind_service": 10, "net_raw": 13, "ipc_lock": 14, "sys_nice": 23, "setfcap": 31,
}

// FullNames are capabilities as the kernel calls them, such as CAP_NET_RAW.
func FullNames(names []string) (out []string) {
	for _, name := range names {
		out = append(out, "CAP_"+strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	return out
}

// Capability returns the number of a capability that tasks may have. "CAP_NET_RAW" and "net_raw" are the same.
func Capability(name string) (int, bool) {
	n, ok := capabilities[strings.TrimPrefix(strings.ToLower(name), "cap_")]
	return n, ok
}
