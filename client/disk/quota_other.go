//go:build !linux

package disk

import (
	"errors"
	"os"

	"github.com/proffer/proffer/structs"
)

type usage struct {
	space, limit structs.Bytes
	files, most  int64
}

func noQuota(top *os.File) string { return "quotas of projects need Linux" }

func usageOf(top *os.File, project uint32) (usage, error) { return usage{}, errors.ErrUnsupported }

func nextUsage(top *os.File, project uint32) (uint32, usage, error) {
	return 0, usage{}, errors.ErrUnsupported
}

func setLimit(top *os.File, project uint32, limit structs.Bytes, files int64) error {
	return errors.ErrUnsupported
}
