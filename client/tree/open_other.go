//go:build !unix

package tree

const noWait = 0
