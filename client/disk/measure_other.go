//go:build !unix

package disk

import (
	"io/fs"

	"github.com/proffer/proffer/structs"
)

const onlyFolder, noWait = 0, 0

func (w *walk) of(info fs.FileInfo) structs.Bytes { return structs.Bytes(info.Size()) }
