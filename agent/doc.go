// Package agent is the process: one server, one client, or both, with the cluster port that they share and the HTTP API.
// Start and stop order are in agent.go.
package agent
