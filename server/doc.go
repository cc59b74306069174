// Package server is the control plane of a region: it keeps the replicated state with the other servers, holds the
// sessions of nodes, and on the leader runs the offer loop. See DESIGN.md.
package server
