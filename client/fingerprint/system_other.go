//go:build !linux && !darwin

package fingerprint

import "github.com/proffer/proffer/structs"

func system(map[string]string) {}

func memoryOf() structs.Bytes { return 0 }

func defaultInterface() string { return "" }
