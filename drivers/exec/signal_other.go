//go:build !unix

package exec

func localSignal(_ string, n int) int { return n }
