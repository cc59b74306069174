//go:build !linux

package fingerprint

import "github.com/proffer/proffer/drivers"

// Pressure is not measured here.
func Pressure() *drivers.Pressure { return nil }
