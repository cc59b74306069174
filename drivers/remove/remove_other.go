//go:build !unix

package remove

import "os"

// All is os.RemoveAll.
func All(path string) error { return os.RemoveAll(path) }
