// Package supervisor is the long-lived process of a node whose children the exec tasks are, and the agent's client of
// it. See DESIGN.md.
package supervisor
