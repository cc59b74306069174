//go:build !unix

package exec

import "github.com/proffer/proffer/drivers"

func localSignal(name string) (int, error) { return drivers.Signal(name) }
