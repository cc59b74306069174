//go:build linux && soak

package faults

func init() { tries = 0 }
