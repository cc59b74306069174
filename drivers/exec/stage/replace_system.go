//go:build linux && system

package stage

import "os"

// In binaries of the system tests, PROFFER_STAGE names a stage that was just built.
func init() {
	if path := os.Getenv("PROFFER_STAGE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		program = b
	}
}
