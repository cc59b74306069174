//go:build !linux

package client

// bootID is not known: a lease is not remembered over restarts of the agent.
func bootID() string { return "" }
