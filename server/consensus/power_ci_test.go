//go:build !soak

package consensus

const powerRuns = 8
