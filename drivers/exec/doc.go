// Package exec is the driver that runs a program of the host in namespaces, a root and cgroups of its own. See DESIGN.md.
package exec
