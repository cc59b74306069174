//go:build !linux

package conformance

func block(s *suite) { s.Skip("volumes are block devices on Linux alone") }
