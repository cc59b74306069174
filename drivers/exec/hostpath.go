package exec

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ownPaths are what an isolated task has of its own: nothing of the host can be there.
var ownPaths = []string{"/proc", "/sys", "/dev", "/tmp", "/local", "/secrets", "/alloc", "/.proffer"}

// CheckHostPath says why isolated tasks cannot see a path of the host; nil: they can, if it exists.
func CheckHostPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/") || strings.ContainsRune(p, 0):
		return fmt.Errorf("%q is not an absolute path", p)
	case path.Clean(p) != p:
		return fmt.Errorf("%q is to be written as %q", p, path.Clean(p))
	case p == "/":
		return errors.New(`"/" would show tasks all of the host: name the folders that they need`)
	}
	for _, own := range ownPaths {
		if p == own || strings.HasPrefix(p, own+"/") {
			return fmt.Errorf("%q cannot be the host's: every task has a %s of its own", p, own)
		}
	}
	return nil
}
