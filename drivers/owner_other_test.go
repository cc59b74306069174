//go:build !unix

package drivers_test

import "testing"

func ownerOf(*testing.T, string) string { return "" }
