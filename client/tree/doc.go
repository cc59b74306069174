// Package tree moves folders as tar streams, from and into a root that nothing leaves, whatever is in the folder or the stream.
package tree

import "github.com/proffer/proffer/structs"

// Bounds of what is taken apart.
const (
	MaxBytes   = 64 << 30  // of all files together
	MaxEntries = 1_000_000 // files, folders and links

	maxElement = 255 // bytes of a name
	maxDepth   = 100 // folders: each is looked at for what is in it
)

func tooMuch(object, format string, args ...any) error {
	return structs.Errorf(structs.Exhausted, object, format, args...).Advise("copy a part of it at a time")
}
