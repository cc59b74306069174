//go:build !linux

package conformance

func propagation(s *suite) { s.Skip("mounts propagate on Linux alone") }
