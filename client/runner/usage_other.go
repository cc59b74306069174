//go:build !unix

package runner

import (
	"io/fs"

	"github.com/proffer/proffer/structs"
)

func used(info fs.FileInfo) structs.Bytes { return structs.Bytes(info.Size()) }
