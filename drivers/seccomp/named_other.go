//go:build !linux || !(amd64 || arm64)

package seccomp

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var errSystem = errors.New("profiles are for Linux on amd64 and arm64")

func (*Profile) check() error { return errSystem }

// For is impossible here.
func (*Profile) For([]string) (*specs.LinuxSeccomp, error) { return nil, errSystem }

// Program is impossible here.
func (*Profile) Program([]string) ([]byte, error) { return nil, errSystem }
