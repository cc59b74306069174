//go:build !linux

package disk

import "os"

func syncData(f *os.File) error            { return f.Sync() }
func reserve(f *os.File, size int64) error { return nil }
func isQuota(err error) bool               { return false }
