// Package containers serves what Mesos calls nested containers on a node: commands that somebody begins within a task and
// types for, and the terminals of tasks. See DESIGN.md.
package containers
