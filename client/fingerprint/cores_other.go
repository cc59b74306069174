//go:build !linux

package fingerprint

// Cores are none: no driver gives whole ones here.
func Cores() []int { return nil }
