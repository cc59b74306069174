//go:build !linux && !darwin

package drivers

import "github.com/proffer/proffer/structs"

func room(string) (free, size structs.Bytes, ok bool) { return 0, 0, false }
