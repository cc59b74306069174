package client

import (
	"os"
	"strings"
)

// bootID names this boot of the machine; readings of the boot clock of two boots cannot be compared.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
